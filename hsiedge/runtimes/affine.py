"""The Card's per-band affine: stored counts to the integers that a graph takes. What an INT8 model's clock begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine

_CACHED = 1 << 16  # values that are scaled at a time
# 1.5 * 2 ** 23. A float32 added to it is rounded to a whole number, half to even, which then is what the last bits say.
_WHOLE = np.float32(12582912)


class InputAffine:
    """The Card's affine, ready to be applied: stored counts to the integers that a graph takes.

    `round((x - offset) * (scale / step)) + zero_point`, clipped to the dtype; each operation in float32, the quotient's one
    rounding and round's half to even, so that every processor gives the same integers.
    """

    def __init__(self, affine: Affine) -> None:
        self._offset = np.asarray(affine.offset, np.float32)
        self._scale = (np.asarray(affine.scale, np.float64) / affine.step).astype(np.float32)
        self._dtype = np.dtype(affine.dtype)
        self._zero_point = np.array(affine.zero_point).astype(self._dtype)
        limits = np.iinfo(self._dtype)
        self._limits = np.float32(limits.min - affine.zero_point), np.float32(limits.max - affine.zero_point)
        self._tiled = (np.zeros(0, np.float32),) * 2

    def __call__(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Integers of `planes` `(..., bands, height, width)` in stored units."""
        values = np.empty(planes.shape, np.float32)
        made = np.empty(planes.shape, self._dtype)
        self._apply(planes, self._offset[:, None, None], self._scale[:, None, None], values, made)
        return made

    def of_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The same of rows `(..., bands)`, some pixels at a time: what is worked on stays in the processor's cache."""
        bands = len(self._offset)
        stored = np.ascontiguousarray(rows).reshape(-1)
        made = np.empty(stored.shape, self._dtype)
        step = max(bands, min(stored.size, _CACHED // bands * bands))
        offset, scale = self._repeated(step)
        values = np.empty(step, np.float32)  # of this call: a model may be used by several threads
        for first in range(0, stored.size, step):
            piece = stored[first : first + step]
            count = piece.size
            self._apply(piece, offset[:count], scale[:count], values[:count], made[first : first + step])
        return made.reshape(rows.shape)

    def _repeated(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Offsets and scales for so many values; kept, for a small input takes less time than they do."""
        made = self._tiled
        if len(made[0]) < count:
            pixels = -(-count // len(self._offset))
            made = self._tiled = np.tile(self._offset, pixels), np.tile(self._scale, pixels)
        return made

    def _apply(
        self,
        stored: NDArray[Any],
        offset: NDArray[np.float32],
        scale: NDArray[np.float32],
        values: NDArray[np.float32],
        made: NDArray[Any],
    ) -> None:
        values[...] = stored
        values -= offset
        values *= scale
        # Whole numbers: clipped before or after rounding is the same. On ARM, numpy's clip takes a third of its min and max.
        np.clip(values, *self._limits, out=values)
        values += _WHOLE
        made[...] = values.view(np.int32)  # their last byte, which is that of the whole number
        made += self._zero_point
