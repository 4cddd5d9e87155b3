"""The Card's per-band affine: stored counts to the integers that a graph takes. What an INT8 model's clock begins with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine
from hsiedge.native.input_step import InputStep, ReferenceTables
from hsiedge.native.program import Input, InputKind

_CACHED = 1 << 16  # values that are scaled at a time
FRACTION = 1 << 8
"""Of an integer: what `WholeSteps` counts in."""
_FINEST = 1 << 12  # fractions that a count makes, at most
_SHIFT = np.uint16(8)
_EXACT = 1e-6  # of a number of fractions, which two float32 that were written as decimals give no more exactly


class InputAffine:
    """The Card's affine, ready to be applied: stored counts to the integers that a graph takes.

    `floor((x - offset) * (scale / step) + 0.5) + zero_point`, clipped to the dtype; each operation in float32, the quotient
    rounded once, so that every processor gives the same integers. A quotient that is a whole number of 256ths but for its
    rounding is that number. Where 16-bit integers give the same for all counts, they are what it is done in (`WholeSteps`).
    """

    def __init__(self, affine: Affine) -> None:
        self._dtype = np.dtype(affine.dtype)
        self._floats = _FloatSteps(affine)
        candidates = {dtype: WholeSteps.of(affine, dtype) for dtype in map(np.dtype, (np.uint16, np.int16))}
        self.in_whole_steps = {dtype: steps for dtype, steps in candidates.items() if steps is not None}
        self._compiled: dict[np.dtype[Any], InputStep] = {}

    def __call__(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Integers of `planes` `(..., bands, height, width)` in stored units."""
        steps = self._steps(planes.dtype)
        integers = np.empty(planes.shape, self._dtype)
        values = np.empty(planes.shape, steps.dtype)
        steps.apply(planes, [entry[:, None, None] for entry in steps.of_bands], values, integers)
        return integers

    def of_rows(
        self,
        rows: NDArray[Any],
        out: NDArray[Any] | None = None,
        references: ReferenceTables | None = None,
        empty: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Integers of rows `(..., bands)`, made some pixels at a time: what is worked on stays in the processor's cache.

        Args:
            out: where they are written, if not into an array of their own: `(n, width, bands)`, as `rows`.
            references: that make raw rows `(n, width, bands of the cube)` reflectance on the way; empty: their pixels
                `(n, width)` without data.
        """
        if out is None and references is None:
            integers, pixels = np.empty(rows.shape, self._dtype), (1, -1, rows.shape[-1])
            self._write(np.ascontiguousarray(rows).reshape(pixels), integers.reshape(pixels), None, None)
            return integers
        if out is None:
            assert references is not None
            out = np.empty((*rows.shape[:2], references.taken), self._dtype)
        self._write(rows, out, references, empty)
        return out

    def native(self, dtype: np.dtype[Any]) -> Input:
        """The affine as the native engine takes it, for counts of a dtype."""
        steps, signed = self._steps(dtype), self._dtype.kind == "i"
        if isinstance(steps, _FloatSteps):
            return Input(InputKind.FLOATS, signed, tuple(steps.of_bands), float(steps.middle))
        return Input(InputKind.STEPS, signed, tuple(entry.view(np.uint16) for entry in steps.of_bands))

    def _write(
        self, rows: NDArray[Any], out: NDArray[Any], references: ReferenceTables | None, empty: NDArray[np.bool_] | None
    ) -> None:
        """Writes the integers of `(n, width, bands)`, in one compiled pass where the native library is here."""
        dtype = rows.dtype if references is None else np.dtype(np.uint16)
        if self._dtype.itemsize == 1:
            if dtype not in self._compiled:
                self._compiled[dtype] = InputStep(self.native(dtype))
            if self._compiled[dtype].write(rows, out, references, empty):
                return
        if references is not None:
            rows = references.reflectance(rows, empty)
        self.write_blocks(np.ascontiguousarray(rows), out)

    def write_blocks(self, rows: NDArray[Any], out: NDArray[Any]) -> None:
        """Writes the integers of `(n, width, bands)` with numpy, block by block: some whole rows, or a part of one."""
        steps, (height, width, bands) = self._steps(rows.dtype), rows.shape
        wide = max(1, min(width, _CACHED // bands))
        block = (max(1, min(height, _CACHED // (wide * bands))), wide, bands)
        constants = [entry.reshape(block) for entry in steps.repeated(math.prod(block))]
        values = np.empty(block, steps.dtype)  # of this call: a model may be used by several threads
        for top in range(0, height, block[0]):
            for left in range(0, width, wide):
                place = np.s_[top : top + block[0], left : left + wide]
                piece, used, worked = rows[place], constants, values
                if piece.shape != block:
                    high, across, _ = piece.shape
                    used, worked = [entry[:high, :across] for entry in constants], values[:high, :across]
                steps.apply(piece, used, worked, out[place])

    def _steps(self, dtype: np.dtype[Any]) -> _Steps:
        return self.in_whole_steps.get(dtype, self._floats)


class _Steps:
    """A way to compute it.

    Attributes:
        of_bands: numbers `(bands,)` that `apply` takes, in the shape of its values.
        dtype: of the values that it works on.
    """

    def __init__(self, of_bands: list[NDArray[Any]], dtype: np.dtype[Any]) -> None:
        self.of_bands, self.dtype = of_bands, dtype
        self._repeated = [entry[:0] for entry in of_bands]

    def repeated(self, count: int) -> list[NDArray[Any]]:
        """The numbers for so many values, a multiple of the bands; kept, for a small input takes less time than they do."""
        numbers = self._repeated
        if len(numbers[0]) < count:
            numbers = self._repeated = [np.tile(entry, count // len(entry)) for entry in self.of_bands]
        return [entry[:count] for entry in numbers]

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], out: NDArray[Any]) -> None:
        """Writes the integers of `stored` into `out`; what lies in `values` is lost."""
        raise NotImplementedError


class _FloatSteps(_Steps):
    """Steps in float32, which fit any counts and any affine."""

    def __init__(self, affine: Affine) -> None:
        super().__init__([np.asarray(affine.offset, np.float32), _rate(affine)], np.dtype(np.float32))
        limits = np.iinfo(affine.dtype)
        self._unsigned = np.dtype(f"uint{limits.bits}")
        self.middle = np.float32(affine.zero_point - limits.min + 0.5)
        self._limits = np.float32(0), np.float32(limits.max - limits.min)
        self._lowest = np.array(limits.min, limits.dtype).view(self._unsigned)

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], out: NDArray[Any]) -> None:
        offset, scale = constants
        values[...] = stored
        values -= offset
        values *= scale
        values += self.middle
        # Clipped, they have no sign, and what becomes of the fraction is what floor does. On ARM, numpy's clip takes a third
        # of its min and max.
        np.clip(values, *self._limits, out=values)
        if stored.dtype.kind == "f":
            np.copyto(values, self.middle, where=np.isnan(values))  # no number is the zero point, on every processor
        integers = out.view(self._unsigned)
        integers[...] = values
        if self._lowest:
            integers += self._lowest


class WholeSteps(_Steps):
    """Steps in 16-bit integers: `((x - first) * factor) >> 8`, clipped to 8 bits; half the bytes of float32, and fewer passes.

    The same integers as those of float32, for every count: an affine is taken only where that is so (`of`). It is where
    offsets are whole, `scale / step` is `factor / 256`, and `factor` divides `256 * zero + 128`, of `zero` integers below the
    zero point: then what float32 computes is exact, as long as it is not clipped, and integers begin at whole counts.
    """

    def __init__(self, first: NDArray[np.float64], factor: NDArray[np.float64], stored: np.dtype[Any], signed: bool) -> None:
        limits = np.iinfo(stored)
        last = np.ceil(first + (1 << 16) / factor) - 1
        low, high = (np.clip(entry, limits.min, limits.max).astype(stored) for entry in (first, last))
        whole, begin = factor.astype(np.int64), first.astype(np.int64)
        if signed:  # so many counts before, products wrap at the middle of what 16 bits hold, and their bytes are signed
            begin -= 0x8000 // (whole & -whole)
        super().__init__([low, high, (begin & 0xFFFF).astype(np.uint16), whole.astype(np.uint16)], stored)

    @classmethod
    def of(cls, affine: Affine, stored: np.dtype[Any]) -> WholeSteps | None:
        """Steps of an affine and a 16-bit `stored` dtype; None where float32 might give another integer for some count."""
        limits, integers = np.iinfo(stored), np.iinfo(affine.dtype)
        offset, factor = np.asarray(affine.offset, np.float64), _rate(affine).astype(np.float64) * FRACTION
        zero = affine.zero_point - integers.min
        if integers.bits != 8 or not set(factor.tolist()).issubset(factors(zero).tolist()):  # np.isin imports numpy.ma, 0.5 MB
            return None
        first = offset - middle(zero) / factor
        inside = (first <= limits.max) & (first + (1 << 16) / factor > limits.min)
        return cls(first, factor, stored, integers.min < 0) if ((first == np.rint(first)) & inside).all() else None

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], out: NDArray[Any]) -> None:
        """Writes the integers of one block into `out`; `values` is room to work in."""
        low, high, first, factor = constants
        np.maximum(stored, low, out=values)
        np.minimum(values, high, out=values)
        steps = values.view(np.uint16)
        steps -= first
        steps *= factor
        steps >>= _SHIFT
        out.view(np.uint8)[...] = steps


def middle(zero: int) -> int:
    """Fractions from the lowest integer's first to the middle of the one that has `zero` below it."""
    return FRACTION * zero + FRACTION // 2


def factors(zero: int) -> NDArray[np.float64]:
    """Fractions that a count may make, in order: the middle is a whole number of counts, and the last integer is reached."""
    numbers = np.arange(1, _FINEST + 1)
    largest = ((1 << 16) - 1) // numbers * numbers
    fit = (middle(zero) % numbers == 0) & (largest // FRACTION == FRACTION - 1)
    values: NDArray[np.float64] = numbers[fit].astype(np.float64)
    return values


def _rate(affine: Affine) -> NDArray[np.float32]:
    """Integers a count, `(bands,)`."""
    exact = np.asarray(affine.scale, np.float64) / affine.step
    near = np.rint(exact * FRACTION) / FRACTION
    rate: NDArray[np.float32] = np.where(np.abs(near - exact) <= _EXACT * exact, near, exact).astype(np.float32)
    return rate
