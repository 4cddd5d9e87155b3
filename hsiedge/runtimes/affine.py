"""The Card's per-band affine: stored counts to the integers that a graph takes. What an INT8 model's clock begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine

_CACHED = 1 << 16  # values that are scaled at a time
# 1.5 * 2 ** 23. A float32 added to it is rounded to a whole number, half to even, which then is what the last bits say.
_WHOLE = np.float32(12582912)
_SHIFT = np.uint16(8)
_STEPS = 1 << 8  # of a `WholeSteps` in one integer
_NO_TIE = (_STEPS - 1) / 2
_MARGIN = 1 / (2 * _STEPS)
_ROUNDING = 2.0**-15  # what two operations in float32 miss of 256 integers


class InputAffine:
    """The Card's affine, ready to be applied: stored counts to the integers that a graph takes.

    `round((x - offset) * (scale / step)) + zero_point`, clipped to the dtype; each operation in float32, the quotient's one
    rounding and round's half to even, so that every processor gives the same integers. Where 16-bit integers give the same
    for all counts, they are what it is done in (`WholeSteps`).
    """

    def __init__(self, affine: Affine) -> None:
        self._dtype = np.dtype(affine.dtype)
        self._floats = _FloatSteps(affine)
        self._whole = {np.dtype(name): WholeSteps.of(affine, np.dtype(name)) for name in ("uint16", "int16")}

    def __call__(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Integers of `planes` `(..., bands, height, width)` in stored units."""
        steps = self._steps(planes.dtype)
        made = np.empty(planes.shape, self._dtype)
        values = np.empty(planes.shape, steps.dtype)
        steps.apply(planes, [entry[:, None, None] for entry in steps.of_bands], values, made)
        return made

    def of_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The same of rows `(..., bands)`, some pixels at a time: what is worked on stays in the processor's cache."""
        steps, bands = self._steps(rows.dtype), rows.shape[-1]
        stored = np.ascontiguousarray(rows).reshape(-1)
        made = np.empty(stored.shape, self._dtype)
        step = max(bands, min(stored.size, _CACHED // bands * bands))
        constants = steps.repeated(step)
        values = np.empty(step, steps.dtype)  # of this call: a model may be used by several threads
        for first in range(0, stored.size, step):
            piece = stored[first : first + step]
            count = piece.size
            steps.apply(piece, [entry[:count] for entry in constants], values[:count], made[first : first + step])
        return made.reshape(rows.shape)

    def _steps(self, dtype: np.dtype[Any]) -> _Steps:
        return self._whole.get(dtype) or self._floats


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
        """The numbers for so many values; kept, for a small input takes less time than they do."""
        made = self._repeated
        if len(made[0]) < count:
            pixels = -(-count // len(self.of_bands[0]))
            made = self._repeated = [np.tile(entry, pixels) for entry in self.of_bands]
        return made

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], made: NDArray[Any]) -> None:
        """Writes the integers of `stored` into `made`; what lies in `values` is lost."""
        raise NotImplementedError


class _FloatSteps(_Steps):
    """In float32: what any counts, and any affine, can be given."""

    def __init__(self, affine: Affine) -> None:
        scale = (np.asarray(affine.scale, np.float64) / affine.step).astype(np.float32)
        super().__init__([np.asarray(affine.offset, np.float32), scale], np.dtype(np.float32))
        dtype = np.dtype(affine.dtype)
        self._zero_point = np.array(affine.zero_point).astype(dtype)
        limits = np.iinfo(dtype)
        self._limits = np.float32(limits.min - affine.zero_point), np.float32(limits.max - affine.zero_point)

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], made: NDArray[Any]) -> None:
        offset, scale = constants
        values[...] = stored
        values -= offset
        values *= scale
        # Whole numbers: clipped before or after rounding is the same. On ARM, numpy's clip takes a third of its min and max.
        np.clip(values, *self._limits, out=values)
        values += _WHOLE
        made[...] = values.view(np.int32)  # their last byte, which is that of the whole number
        made += self._zero_point


class WholeSteps(_Steps):
    """In 16-bit integers: `((x - first) * factor) >> 8`, clipped to 8 bits; half the bytes of float32, and fewer passes.

    The same integers as those of float32, for every count: an affine is taken only where that is so (`of`). It is where
    `scale / step` is `factor / 256`, and `offset` lies 127.5 / 256 of a step beyond what `first` would be for the zero point:
    then float32 never meets a half, and is never further from it than its own error.
    """

    def __init__(self, first: NDArray[np.float64], factor: NDArray[np.float64], stored: np.dtype[Any], signed: bool) -> None:
        limits = np.iinfo(stored)
        last = first + (1 << 16) // factor - ((1 << 16) % factor == 0)
        low, high = (np.clip(entry, limits.min, limits.max).astype(stored) for entry in (first, last))
        wrapped = (first.astype(np.int64) & 0xFFFF).astype(np.uint16)
        super().__init__([low, high, wrapped, factor.astype(np.uint16)], stored)
        self._signed = signed

    @classmethod
    def of(cls, affine: Affine, stored: np.dtype[Any]) -> WholeSteps | None:
        """Those of an affine and a 16-bit `stored` dtype; None where float32 might give another integer for some count."""
        limits, integers = np.iinfo(stored), np.iinfo(affine.dtype)
        offset = np.asarray(affine.offset, np.float32).astype(np.float64)
        rate = (np.asarray(affine.scale, np.float64) / affine.step).astype(np.float32).astype(np.float64)
        factor = np.rint(rate * _STEPS)
        if integers.bits != 8 or not np.isfinite(offset).all() or not ((factor >= 1) & (factor <= _STEPS)).all():
            return None
        exact = offset - lead(affine.zero_point - integers.min, factor)
        first = np.rint(exact)
        reach = (1 << 16) / factor
        error = np.abs(exact - first) * rate + np.abs(rate - factor / _STEPS) * reach + _ROUNDING
        inside = (first <= limits.max) & (first + reach > limits.min)
        return cls(first, factor, stored, integers.min < 0) if inside.all() and error.max() < _MARGIN else None

    def apply(self, stored: NDArray[Any], constants: list[NDArray[Any]], values: NDArray[Any], made: NDArray[Any]) -> None:
        low, high, first, factor = constants
        np.maximum(stored, low, out=values)
        np.minimum(values, high, out=values)
        steps = values.view(np.uint16)
        steps -= first
        steps *= factor
        integers = made.view(np.uint8)
        np.right_shift(steps, _SHIFT, out=integers, casting="unsafe")
        if self._signed:
            integers ^= np.uint8(0x80)


def lead(zero: int, factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many counts the offset of `WholeSteps` lies above `first`, where `zero` integers lie below the zero point."""
    return (_STEPS * zero + _NO_TIE) / factor
