"""Dark and white references: raw counts of a push-broom camera become reflectance, by column and band.

    reflectance = panel * (raw - dark) / (white - dark) * exposure of white / exposure of raw

Calibrated cubes store it as most products do: uint16, in steps of 0.0001. These integers are what a net is trained, calibrated
and judged on, so deployment computes them too, and not the reflectance between them: each operation is one of float32, rounded
once, and the same on every processor. `classify` and `run` never store them: the library makes a few pixels of counts
reflectance, and that the network's integers, in one pass over the row (native/src/hs_reflect.h). What numpy computes here is
the same to the bit, for machines without the library.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError, SceneError
from hsiedge.native.input_step import ReferenceTables
from hsiedge.scenes.io.cube import Cube, quantity_of
from hsiedge.scenes.io.reader import open_cube

STEP = 1e-4
"""Reflectance that a stored integer is worth."""
LARGEST, NODATA = 32767, 65535
_DARK, _WHITE = "DARKREF_", "WHITEREF_"
_SAME_NM = 1.0  # by which wavelengths of a reference may differ: cameras are calibrated anew
_MOST_LINES = 512  # that are averaged: more are taken evenly spaced
_MEMORY = 8 << 20
_CACHED = 1 << 16  # values that are worked on at a time
_MOST_DEAD = 0.5
_LEAST_LIGHT = 1e-30  # above dark: less has no gain in float32


@dataclass(frozen=True)
class References:
    """Dark and white reference of a camera.

    Attributes:
        dark: cube taken with the shutter closed; white: of a panel that fills the line.
        panel: reflectance of the panel, 1 where all light comes back.

    Raises:
        OptionError: a reflectance outside 0..2.
    """

    dark: Path
    white: Path
    panel: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.panel <= 2:
            raise OptionError("a reflectance above 0 was expected, as 0.99", option="panel", value=f"{self.panel:g}")


BESIDE = "beside"
"""Word for the references that lie beside a capture, where it has some."""
ReferencesLike = References | str | None
"""References, the word "beside", or None for none."""


def beside_for(quantity: str) -> str | None:
    """Word on what lies beside a capture, for a model that takes this quantity: only one of reflectance has a use for it."""
    return BESIDE if quantity == "reflectance" else None


def is_reference(path: Path) -> bool:
    """Whether a file is called as references are: DARKREF_NAME, WHITEREF_NAME, or WHITEDARKREF_NAME."""
    return path.name.upper().startswith((_DARK, _WHITE, "WHITEDARKREF_"))


def references_beside(path: Path) -> References | None:
    """References DARKREF_NAME and WHITEREF_NAME that lie beside the capture NAME; None unless both do."""
    suffixes = dict.fromkeys((".hdr", path.suffix))
    for suffix in suffixes:
        dark, white = (path.with_name(f"{kind}{path.stem}{suffix}") for kind in (_DARK, _WHITE))
        if dark.is_file() and white.is_file() and not is_reference(path):
            return References(dark, white)
    return None


def calibration_for(
    cube: Cube, references: ReferencesLike, quantity: str | None = None, path: Path | None = None
) -> tuple[Calibration | None, Cube]:
    """Calibration that references make of a cube of counts, and the cube as reflectance; None and the cube without references.

    Args:
        references: them, "beside" for those that lie beside the cube's file, None for none.
        quantity: that the model takes; any other than reflectance leaves alone what lies beside. None where there is no model.
        path: file that the cube is read from; None for a stream, which has nothing beside it.

    Raises:
        SceneError: references that cannot be read, of another width or other bands, or that are no dark and white; a cube that
            holds reflectance or radiance already.
        OptionError: another word for the references.
    """
    if not isinstance(references, References):
        if references not in (None, BESIDE):
            raise OptionError(f"References, {BESIDE!r} or None was expected", option="references", value=references)
        beside = None if references is None or path is None or _meaning(cube) else references_beside(path)
        if beside is None:
            return None, cube
        names = f"{beside.dark.name} and {beside.white.name}"
        if quantity not in (None, "reflectance"):
            note = f"{names} lie beside it, and are not used: the model takes {quantity}"
            return None, replace(cube, notes=(*cube.notes, note))
        references = beside
        cube = replace(cube, notes=(*cube.notes, f"calibrated to reflectance with {names}, which lie beside it"))
    if _meaning(cube):
        raise SceneError(f"{cube.path}: holds {_meaning(cube)}; references are for raw counts")
    calibration = Calibration.of(cube, references)
    raw = RawCounts(cube, calibration)
    return calibration, replace(
        cube,
        dtype=np.dtype(np.uint16),
        read=lambda first, count: raw.reflectance(cube.read(first, count), first),
        scale=(STEP,) * cube.bands,
        offset=None,
        nodata=(float(NODATA),) * cube.bands,
        valid=None,
        units="",
        quantity="reflectance",
        array=None,
        notes=(*cube.notes, *calibration.notes),
        raw=raw,
    )


def with_references(cube: Cube, references: ReferencesLike = BESIDE, quantity: str | None = None) -> Cube:
    """A cube of a file, as references make it reflectance; itself where there are none. See `calibration_for`."""
    return calibration_for(cube, references, quantity, cube.path)[1]


def _meaning(cube: Cube) -> str:
    """Quantity of a cube that is no counts; "" for one that is, or may be."""
    quantity = cube.quantity or quantity_of(cube.units)
    return quantity if quantity != "counts" else ""


@dataclass(frozen=True)
class Calibration:
    """Numbers that make reflectance of counts.

    Attributes:
        dark, gain: float32 `(width, bands)`; steps of 0.0001 are `(raw - dark) * gain`.
        dead: columns and bands of the detector's elements whose white is no brighter than their dark, `(2, n)`.
        between: the nearest live bands of the same column on both sides, `(2, n)`; weights: of each, float32 `(2, n)`.
        lost: columns without a live band, which hold no data.
        notes: what is odd, a line each.
    """

    dark: NDArray[np.float32]
    gain: NDArray[np.float32]
    dead: NDArray[np.intp]
    between: NDArray[np.intp]
    weights: NDArray[np.float32]
    lost: NDArray[np.intp]
    notes: tuple[str, ...]

    @staticmethod
    def of(cube: Cube, references: References) -> Calibration:
        """Calibration of a cube's lines. Raises SceneError, as `calibrated`."""
        (dark, dark_time), (white, white_time) = (_mean_line(path, cube) for path in (references.dark, references.white))
        light = white - dark
        alive = light > _LEAST_LIGHT
        good = cube.good_bands
        share = 1 - float(alive[:, good].mean())
        if share > _MOST_DEAD:
            raise SceneError(f"{references.white}: no brighter than the dark reference in {share:.0%} of its values; swapped?")
        factor, notes = _exposure(cube, references, dark_time, white_time)
        gain = np.where(alive, references.panel * factor / STEP / np.where(alive, light, 1), 0)
        columns, bands = np.nonzero(~alive)
        lost = np.flatnonzero(~alive[:, good].any(1))
        kept = ~np.isin(columns, lost)
        dead = np.stack([columns[kept], bands[kept]])
        count = int((~alive[:, good]).sum())
        if count:
            notes += (f"{count:,} of {alive[:, good].size:,} elements of its detector are dead, and are interpolated",)
        if len(lost):
            notes += (f"{len(lost)} of its columns have no live element, and hold no data",)
        parts = dark.astype(np.float32), gain.astype(np.float32)
        return Calibration(*parts, dead, *_neighbours(alive, dead), lost, notes)

    @property
    def dead_elements(self) -> int:
        """Elements of the detector that are interpolated."""
        return int(self.dead.shape[1])

    def apply(self, stored: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> NDArray[np.uint16]:
        """Reflectance `(n, width, bands)` of raw lines, in steps of 0.0001, within 0 and 3.2767; 65535 where there is no data.

        Args:
            empty: pixels `(n, width)` that hold no data.
        """
        tables = self._stored if ReferenceTables.take(stored.dtype, stored.shape[2]) else None
        if tables is None:
            return self.apply_numpy(stored, empty)
        missing = self.missing(stored.shape[:2], empty)
        return tables.reflectance(stored, missing if missing.any() else None)

    def apply_numpy(self, stored: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> NDArray[np.uint16]:
        """Reflectance as `apply` gives it, computed without the library."""
        out = np.empty(stored.shape, np.uint16)
        room = np.empty(max(_CACHED, stored.shape[2]), np.float32)  # of this call: threads may share a calibration
        for place, columns in _blocks(stored.shape):
            piece = stored[place]
            values = room[: piece.size].reshape(piece.shape)
            values[...] = piece
            values -= self.dark[columns]
            values *= self.gain[columns]
            values += np.float32(0.5)
            if stored.dtype.kind == "f":
                np.nan_to_num(values, copy=False)  # no number is 0; its pixel is empty
            np.clip(values, np.float32(0), np.float32(LARGEST), out=values)
            np.copyto(out[place], values, casting="unsafe")
        if self.dead.size:
            (columns, bands), (low, high) = self.dead, self.between
            mean = out[:, columns, low] * self.weights[0] + out[:, columns, high] * self.weights[1]
            out[:, columns, bands] = np.floor(mean + np.float32(0.5)).astype(np.uint16)
        out[self.missing(stored.shape[:2], empty)] = NODATA
        return out

    def missing(self, shape: tuple[int, int], empty: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Pixels `(n, width)` without data: those that are `empty`, and all of lost columns."""
        pixels = np.zeros(shape, bool) if empty is None else empty.copy()
        pixels[:, self.lost] = True
        return pixels

    @cached_property
    def _stored(self) -> ReferenceTables:
        return self.tables(None, np.full(self.dark.shape[1], NODATA, np.uint16))

    def tables(self, bands: NDArray[np.intp] | None, fill: NDArray[np.uint16]) -> ReferenceTables:
        """Tables of it for the library, which share its memory; bands and fill as `ReferenceTables` takes them."""
        return ReferenceTables(self.dark, self.gain, self.dead, self.between, self.weights, bands=bands, fill=fill)


@dataclass(frozen=True)
class RawCounts:
    """Raw counts of a cube, and the calibration that makes them reflectance."""

    cube: Cube
    calibration: Calibration

    def missing(self, stored: NDArray[Any], first: int) -> NDArray[np.bool_]:
        """Pixels `(n, width)` of stored counts, from row `first` on, that hold no data."""
        return self.calibration.missing(stored.shape[:2], self.cube.without_data(stored, first))

    def reflectance(self, stored: NDArray[Any], first: int) -> NDArray[np.uint16]:
        """Reflectance of stored counts, from row `first` on; see `Calibration.apply`."""
        return self.calibration.apply(stored, self.cube.without_data(stored, first))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, slice], slice]]:
    """Places `(rows, columns)` of blocks that fit into a cache, and their columns alone."""
    height, width, bands = shape
    wide = max(1, min(width, _CACHED // bands))
    high = max(1, _CACHED // (wide * bands))
    for left in range(0, width, wide):
        columns = slice(left, left + wide)
        for top in range(0, height, high):
            yield (slice(top, top + high), columns), columns


def _neighbours(alive: NDArray[np.bool_], dead: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest live bands on both sides of dead ones, and the weights of a line through them; one side's at the ends."""
    between = np.zeros(dead.shape, np.intp)
    weights = np.zeros(dead.shape, np.float32)
    for place, (column, band) in enumerate(dead.T):
        live = np.flatnonzero(alive[column])
        after = int(np.searchsorted(live, band))
        low, high = live[max(0, after - 1)], live[min(after, len(live) - 1)]
        share = 0.5 if low == high else (band - low) / (high - low)
        between[:, place], weights[:, place] = (low, high), (1 - share, share)
    return between, weights


def _exposure(cube: Cube, references: References, dark: float | None, white: float | None) -> tuple[float, tuple[str, ...]]:
    """Exposure of the white reference over that of the cube, as far as headers tell, and what is odd about them."""
    raw = cube.exposure
    if raw is None and white is None:
        return 1.0, ()
    if raw is None or white is None:
        silent = cube.path.name if raw is None else references.white.name
        return 1.0, (f"{silent} does not tell its exposure time: taken to be that of the other",)
    notes: tuple[str, ...] = ()
    if dark is not None and not (math.isclose(dark, raw, rel_tol=0.01) and math.isclose(dark, white, rel_tol=0.01)):
        notes = (f"exposures differ: {dark:g} of the dark reference, {white:g} of the white one, {raw:g} of the cube",)
    return white / raw, notes


def _mean_line(path: Path, cube: Cube) -> tuple[NDArray[np.float64], float | None]:
    """Mean `(width, bands)` of the middle half of a reference's lines, by column and band; and its exposure time.

    Memory is bounded: some columns at a time, of 512 lines that are evenly spaced where there are more.

    Raises:
        SceneError: it cannot be read, or does not fit the cube.
    """
    width, bands = cube.shape[1], cube.bands
    with open_cube(path) as reference:
        if (reference.shape[1], reference.bands) != (width, bands):
            theirs = f"{reference.shape[1]} columns and {reference.bands} bands"
            raise SceneError(f"{path}: has {theirs}, {cube.path.name} has {width} and {bands}")
        both = cube.wavelengths and reference.wavelengths
        if both and not np.allclose(cube.wavelengths, reference.wavelengths, rtol=0, atol=_SAME_NM):
            raise SceneError(f"{path}: its wavelengths are not those of {cube.path.name}")
        if _meaning(reference):
            raise SceneError(f"{path}: holds {_meaning(reference)}; a reference is raw counts")
        if (reference.scale, reference.offset) != (cube.scale, cube.offset):
            raise SceneError(f"{path}: its counts have another scale than those of {cube.path.name}")
        height = reference.shape[0]
        lines = np.unique(np.linspace(0, height - 1, min(height, _MOST_LINES)).round().astype(int))
        step = max(1, _MEMORY // (len(lines) * bands * reference.dtype.itemsize))
        mean = np.empty((width, bands))
        for left in range(0, width, step):
            part = np.empty((len(lines), min(step, width - left), bands), reference.dtype)
            for place, line in enumerate(lines):
                part[place] = reference.read(int(line), 1)[0, left : left + step]
            mean[left : left + step] = _middle_mean(part)
        if not np.isfinite(mean).all():
            raise SceneError(f"{path}: holds values that are no numbers")
        return mean, reference.exposure


def _middle_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the first axis without its lowest and highest quarter, which a hand or a flash may spoil; sorts in place."""
    cut = len(values) // 4
    values.sort(axis=0)
    mean: NDArray[np.float64] = values[cut : len(values) - cut].mean(0, dtype=np.float64)
    return mean
