"""Adaptation of a cube to a model: which bands, which pixels hold data, and in which units and dtype.

`classify`, `eval` and `quantize` decide alike, here. Where cube and Card both say how stored values become physical ones,
values are converted exactly: a cube of reflectance * 10000 for a model that was trained on counts of 0.0002 and an offset of
0.1 gives `(stored * 0.0001 - 0.1) / 0.0002`. Where neither says anything, stored values of the same kind are taken as they
are. Where only one does, nobody knows: that is an error, unless the caller says which ("stored" or "physical").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError, OptionError
from hsiedge.native.input_step import ReferenceTables
from hsiedge.scenes.cubes import CubeLike, StackedCube
from hsiedge.scenes.io.cube import Cube, is_percent, number, quantity_of
from hsiedge.scenes.patches import check_patch
from hsiedge.scenes.scene import Scene

UNITS = ("stored", "physical")
"""Words of a caller on values: they are stored as the model's are, or mean what the model's mean."""

_MODEL = "the model"


@dataclass(frozen=True)
class AdaptedCube:
    """A cube as a model takes it: its bands in their order, in its units and dtype.

    Attributes:
        cube: as its reader gives it.
        bands: those that the model takes, in its order; None where it takes all as they stand.
        factor, addend: float64, a band each, model's stored value = cube's * factor + addend; None where they are alike.
        taker: what takes the cube, for errors.
    """

    cube: Cube
    card: Card
    bands: NDArray[np.intp] | None
    factor: NDArray[np.float64] | None = None
    addend: NDArray[np.float64] | None = None
    taker: str = _MODEL

    @property
    def changes(self) -> bool:
        """Whether the model takes anything else than what is stored."""
        same = self.cube.dtype == np.dtype(self.card.scene.dtype)
        return self.bands is not None or self.factor is not None or not same

    def read(self, first: int, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows `(n, width, bands)` in the model's dtype and units, and which pixels `(n, width)` hold no data.

        A pixel without data in any band that the model takes has none, and is given the median spectrum of the training
        pixels: its neighbours see it.

        Raises:
            SceneError: rows that cannot be read.
            ModelError: values that the model's dtype cannot hold.
        """
        return self.take(self.cube.read(first, count), first)

    def take(self, stored: NDArray[Any], first: int = 0) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows `(n, width, bands)` as the cube stores them, from row `first` on, made what `read` gives."""
        bands = np.arange(self.cube.bands) if self.bands is None else self.bands
        empty = self.cube.without_data(stored, first, bands)
        taken = stored if self.bands is None else stored[:, :, self.bands]
        return _filled(self._converted(taken, empty), empty, self.card), empty

    @property
    def references(self) -> ReferenceTables | None:
        """Tables by which raw counts become what the model takes; None where that takes another step, or no library."""
        raw = self.cube.raw
        if raw is None or self.factor is not None or np.dtype(self.card.scene.dtype) != self.cube.dtype:
            return None
        if not ReferenceTables.take(raw.cube.dtype, max(raw.cube.bands, self.card.scene.bands)):
            return None
        return raw.calibration.tables(self.bands, _median(self.card).astype(np.uint16))

    def as_cube(self) -> Cube:
        """A cube of the values that `read` gives, of which nothing else is said."""
        facts = self.card.scene
        return Cube(self.cube.path, self.cube.shape, facts.bands, np.dtype(facts.dtype), lambda *rows: self.read(*rows)[0])

    def _converted(self, rows: NDArray[Any], empty: NDArray[np.bool_]) -> NDArray[Any]:
        wanted = np.dtype(self.card.scene.dtype)
        if self.factor is not None and self.addend is not None:
            values = rows * self.factor + self.addend
            rows = values if wanted.kind == "f" else np.rint(values)
        if rows.dtype == wanted:
            return rows
        if wanted.kind in "iu" and rows.size:
            rows = np.where(empty[:, :, None], 0, rows) if empty.any() else rows
            limits = np.iinfo(wanted)
            if rows.min() < limits.min or rows.max() > limits.max:
                raise ModelError(f"{self.cube.path} holds values that {wanted}, which {self.taker} takes, cannot hold")
        return rows.astype(wanted)


def adapt(card: Card, cube: Cube, units: str | None = None, *, taker: str = _MODEL) -> AdaptedCube:
    """A cube as the model with this Card takes it.

    Args:
        units: "stored" takes stored values as they are, "physical" what they mean; None where cube and Card must tell.
        taker: what takes the cube, for errors.

    Raises:
        ModelError: no such bands; other units; units that only one of them names, and `units` does not tell.
        SceneError: the patch is wider than the cube.
        OptionError: another word for `units`.
    """
    if units not in (None, *UNITS):
        raise OptionError(f"one of {', '.join(UNITS)} was expected", option="units", value=units)
    check_patch(card.patch, cube.shape, cube.path.name or "the cube")
    bands = _bands(card, cube, taker)
    conversion = _conversion(card, cube, np.arange(cube.bands) if bands is None else bands, units, taker)
    factor, addend = conversion or (None, None)
    return AdaptedCube(cube, card, bands, factor, addend, taker)


def adapted_scene(card: Card, scene: Scene, units: str | None = None) -> Scene:
    """A scene whose cube is as the model with this Card takes it; itself where nothing has to be changed.

    Raises:
        ModelError, SceneError, OptionError: see `adapt`.
    """
    cube_read = scene.as_cube()
    fit = adapt(card, cube_read if cube_read.path.is_file() else replace(cube_read, path=Path(scene.name)), units)
    if not fit.changes:
        return scene
    cube: CubeLike
    if isinstance(scene.cube, StackedCube):  # flights, or a file that stays where it is
        cube, empty = scene.cube.read_as(fit.as_cube()), scene.empty
    else:
        rows = [fit.read(row, 1) for row in range(scene.shape[0])]
        cube, empty = np.concatenate([values for values, _ in rows]), np.concatenate([gone for _, gone in rows])
    facts = card.scene
    return replace(
        scene,
        cube=cube,
        wavelengths=tuple(facts.wavelengths),
        widths=(),
        units=facts.units,
        quantity=facts.quantity,
        nodata=None,
        valid=~empty if empty.any() else None,
        scale=tuple(facts.scales) or None,
        offset=tuple(facts.offsets) or None,
    )


def _filled(rows: NDArray[Any], empty: NDArray[np.bool_], card: Card) -> NDArray[Any]:
    if not empty.any():
        return rows
    mended = rows.copy()
    mended[empty] = _median(card).astype(rows.dtype)
    return mended


def _median(card: Card) -> NDArray[np.float64]:
    """Median spectrum of the training pixels."""
    return np.asarray(card.scene.percentiles.get("50", [0.0] * card.scene.bands), np.float64)


Meaning = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Scale and offset, a band each: value = stored * scale + offset."""


def _conversion(card: Card, cube: Cube, bands: NDArray[np.intp], units: str | None, taker: str) -> Meaning | None:
    """Factor and addend a band that turn the cube's stored values into the model's; None where they are alike."""
    wanted, identity = np.dtype(card.scene.dtype), (np.ones(card.scene.bands), np.zeros(card.scene.bands))
    theirs, ours = _of_cube(cube, bands), _of_card(card)
    if units is None:
        theirs, ours = _compared(card, cube, theirs, ours, taker)
    elif units == "physical":
        if ours is None and wanted.kind != "f":
            whose = "its Card names" if taker == _MODEL else "names"
            raise ModelError(f"{taker} takes {wanted}, and {whose} no scale: {cube.path} cannot be converted for it")
        theirs, ours = theirs or identity, ours or identity
    if units == "stored" or theirs is None or ours is None:
        if wanted.kind != "f" and cube.dtype.kind == "f":
            raise ModelError(f"{cube.path} holds {cube.dtype}, {taker} takes {wanted}: it was made for other units")
        return None
    (scale, offset), (step, start) = theirs, ours
    return None if np.array_equal(scale, step) and np.array_equal(offset, start) else (scale / step, (offset - start) / step)


def _of_cube(cube: Cube, bands: NDArray[np.intp]) -> Meaning | None:
    """Scale and offset of the bands that are taken; real numbers in a unit that is named are the physical values."""
    if cube.scale is not None:
        scale, offset = np.array(cube.scale), np.array(cube.offset or np.zeros(cube.bands))
        return scale[bands], offset[bands]
    named = cube.dtype.kind == "f" and (cube.units or cube.quantity)
    return (np.ones(len(bands)), np.zeros(len(bands))) if named else None


def _of_card(card: Card) -> Meaning | None:
    """Scale and offset of what the model takes, by the same rule; hsiedge 0.1 kept a scale as the unit "counts of 0.0001".

    Cards of older models have percent as a unit, which is a scale of 0.01 in a cube.
    """
    facts, bands = card.scene, card.scene.bands
    part = 0.01 if is_percent(facts.units) else 1.0
    if facts.scales or part != 1.0:
        scales, offsets = facts.scales or [1.0] * bands, facts.offsets or [0.0] * bands
        return np.array(scales) * part, np.array(offsets) * part
    old = re.fullmatch(r"counts of ([\d.eE+-]+)", facts.units)
    if old and (scale := number(old[1])):
        return np.full(bands, scale), np.zeros(bands)
    named = np.dtype(facts.dtype).kind == "f" and (facts.units or facts.quantity)
    return (np.ones(bands), np.zeros(bands)) if named else None


def _compared(
    card: Card, cube: Cube, theirs: Meaning | None, ours: Meaning | None, taker: str
) -> tuple[Meaning | None, Meaning | None]:
    """Both meanings, where cube and Card agree in what they tell. Raises ModelError where only one of them tells something."""
    facts, wanted, use = card.scene, np.dtype(card.scene.dtype), {"units": "|".join(UNITS)}
    named, expected = (" ".join(text.lower().split()) for text in (cube.units, _unit(facts.units)))
    quantities = cube.quantity or quantity_of(cube.units), facts.quantity or quantity_of(facts.units)
    if (named and expected and named != expected) or (all(quantities) and quantities[0] != quantities[1]):
        raise ModelError(f"{cube.path} is in {cube.units or cube.quantity!r}, {taker} takes {facts.units or facts.quantity!r}")
    names = str(cube.path), f"{taker}'s Card" if taker == _MODEL else taker
    if quantities == ("radiance", "radiance") and bool(named) != bool(expected):
        one, other = names if named else reversed(names)
        raise ModelError(f"{one} names the unit of its radiance, {other} does not", use=use)
    cube_tells, card_tells = theirs is not None, ours is not None
    if not (cube_tells or card_tells):  # raw counts are called so, or not at all
        cube_tells, card_tells = (bool(text) and quantity_of(text) != "counts" for text in (named, expected))
    if cube_tells != card_tells:
        one, other = names if cube_tells else reversed(names)
        raise ModelError(f"{one} says what its values mean, {other} does not", use=use)
    if theirs is None and wanted.kind == "f" and cube.dtype.kind in "iu":
        raise ModelError(f"{cube.path} holds {cube.dtype} and names no scale, {taker} takes {wanted}", use=use)
    return theirs, ours


def _unit(text: str) -> str:
    return "" if text.startswith("counts of ") or is_percent(text) else text


def _bands(card: Card, cube: Cube, taker: str) -> NDArray[np.intp] | None:
    """Bands by wavelength where both are known: the nearest ones, no farther than half of the model's band spacing.

    Else all that are not in the cube's bad-band list, which have to be as many.
    """
    good = cube.good_bands
    wanted, measured = np.array(card.scene.wavelengths), np.array(cube.wavelengths)
    if len(wanted) and len(measured):
        chosen = _nearest(cube, wanted, measured, good, taker)
    elif len(good) == card.scene.bands:
        chosen = good
    elif cube.bands == card.scene.bands:
        chosen = np.arange(cube.bands)
    else:
        spoken = f"{cube.bands} bands" + (f", {len(good)} of them good" if len(good) < cube.bands else "")
        raise ModelError(f"{cube.path} has {spoken}, {taker} takes {card.scene.bands}, and no wavelengths tell which")
    return None if np.array_equal(chosen, np.arange(cube.bands)) else chosen


def _nearest(
    cube: Cube, wanted: NDArray[np.float64], measured: NDArray[np.float64], good: NDArray[np.intp], taker: str
) -> NDArray[np.intp]:
    distance = np.abs(wanted[:, None] - measured[good])
    nearest = distance.argmin(1)
    limit = max(1.0, float(np.median(np.abs(np.diff(wanted)))) / 2) if len(wanted) > 1 else 1.0
    off = distance.min(1)
    if off.max() > limit:
        worst = int(off.argmax())
        raise ModelError(
            f"{cube.path}: has no good band within {limit:.1f} nm of {taker}'s {wanted[worst]:.1f} nm; "
            f"the nearest is {measured[good[nearest[worst]]]:.1f} nm"
        )
    chosen: NDArray[np.intp] = good[nearest]
    return chosen
