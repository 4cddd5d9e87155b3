"""Adaptation of a cube to a model: which bands, which pixels, in which dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError
from hsiedge.scenes.io.arrays import RowSource
from hsiedge.scenes.patches import check_patch


def no_data(rows: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """`(n, width)` of rows `(n, width, bands)`: pixels that are nodata in all bands, or not a number in any."""
    empty = np.zeros(rows.shape[:2], bool) if nodata is None else (rows == nodata).all(-1)
    return empty if rows.dtype.kind != "f" else empty | ~np.isfinite(rows).all(-1)


def filled(rows: NDArray[Any], empty: NDArray[np.bool_], card: Card) -> NDArray[Any]:
    """The rows, pixels without data replaced by the median spectrum of the training pixels: their neighbours see them."""
    if not empty.any() or rows.shape[-1] != card.scene.bands:
        return rows
    median = card.scene.percentiles.get("50", [0.0] * card.scene.bands)
    mended = rows.copy()
    mended[empty] = np.asarray(median).astype(rows.dtype)
    return mended


def as_stored(rows: NDArray[Any], card: Card, source: RowSource) -> NDArray[Any]:
    """Converts values to the dtype that the model takes; none is changed."""
    wanted = np.dtype(card.scene.dtype)
    if rows.dtype == wanted:
        return rows
    if wanted.kind != "f" and rows.dtype.kind == "f":
        raise ModelError(f"{source.path} holds {rows.dtype}, the model takes {wanted}: it was made for other units")
    if wanted.kind in "iu" and rows.size:
        limits = np.iinfo(wanted)
        if rows.min() < limits.min or rows.max() > limits.max:
            raise ModelError(f"{source.path} holds values that {wanted}, which the model takes, cannot hold")
    return rows.astype(wanted)


def check_fits(card: Card, source: RowSource) -> NDArray[np.intp] | None:
    """Bands of the cube that the model takes, in its order; None where it takes them as they are.

    Raises:
        ModelError: it has no such bands, or is in other units.
        SceneError: the patch is wider than the cube.
    """
    check_patch(card.patch, source.shape)
    return _bands(card, source)


def _bands(card: Card, source: RowSource) -> NDArray[np.intp] | None:
    """Bands by wavelength where both are known: the nearest ones, no farther than half of the model's band spacing.

    Else all that are not in the cube's bad-band list, which have to be as many.
    """
    units = card.scene.units.strip().lower(), source.units.strip().lower()
    if all(units) and units[0] != units[1]:
        raise ModelError(f"{source.path} is in {source.units!r}, the model takes {card.scene.units!r}")
    good = np.flatnonzero(source.good) if source.good else np.arange(source.bands)
    wanted, measured = np.array(card.scene.wavelengths), np.array(source.wavelengths)
    if len(wanted) and len(measured):
        chosen = _nearest(card, source, wanted, measured, good)
    elif len(good) == card.scene.bands:
        chosen = good
    elif source.bands == card.scene.bands:
        chosen = np.arange(source.bands)
    else:
        spoken = f"{source.bands} bands" + (f", {len(good)} of them good" if len(good) < source.bands else "")
        raise ModelError(f"{source.path} has {spoken}, the model takes {card.scene.bands}, and no wavelengths tell which")
    return None if np.array_equal(chosen, np.arange(source.bands)) else chosen


def _nearest(
    card: Card, source: RowSource, wanted: NDArray[np.float64], measured: NDArray[np.float64], good: NDArray[np.intp]
) -> NDArray[np.intp]:
    distance = np.abs(wanted[:, None] - measured[good])
    nearest = distance.argmin(1)
    limit = max(1.0, float(np.median(np.abs(np.diff(wanted)))) / 2) if len(wanted) > 1 else 1.0
    off = distance.min(1)
    if off.max() > limit:
        worst = int(off.argmax())
        raise ModelError(
            f"{source.path}: has no good band within {limit:.1f} nm of the model's {wanted[worst]:.1f} nm; "
            f"the nearest is {measured[good[nearest[worst]]]:.1f} nm"
        )
    chosen: NDArray[np.intp] = good[nearest]
    return chosen
