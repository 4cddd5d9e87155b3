"""Patches in training: cut on the fly from the standardized spectra of a scene, or of several flights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsiedge.scenes.cubes import CubeLike, reflected, spans_of

_BLOCK = 32 << 20  # bytes of float32 spectra that are made at a time
Spectra = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Standardized float32 spectra `(n, width, channels)` of stored rows `(n, width, bands)`; row by row, so that blocks of rows,
however many, give the same bits."""


class PatchImage:
    """A whole scene in training: standardized (and projected) spectra, from which patches are cut on the fly.

    Args:
        cube: `(height, width, bands)`, of which some rows are read at a time; reflected at the edges of each of its spans.
        patch: p, odd.
        spectra: makes float32 of stored rows; left out, they are taken as they are.
        channels: that `spectra` gives; left out, as many as there are bands.
    """

    def __init__(self, cube: CubeLike, patch: int, spectra: Spectra | None = None, channels: int | None = None) -> None:
        self._width, self._patch = cube.shape[1], patch
        spans, radius = spans_of(cube), patch // 2
        height, wide = cube.shape[0] + 2 * radius * len(spans), self._width + 2 * radius
        padded = np.empty((channels or cube.shape[2], height, wide), np.float32)
        first_rows = np.empty(cube.shape[0], np.int64)  # of the patch around a pixel, by the pixel's row
        block = max(1, _BLOCK // (4 * wide * max(cube.shape[2], len(padded))))
        for place, (top, span, width) in enumerate(spans):
            columns, start = reflected(np.arange(-radius, self._width + radius), width), top + 2 * radius * place
            first_rows[top : top + span] = start + np.arange(span)
            for row in range(0, span, block):
                stored = cube[top + row : top + min(row + block, span)]
                values = spectra(stored) if spectra else stored.astype(np.float32, copy=False)
                lines = slice(start + radius + row, start + radius + row + len(values))
                padded[:, lines] = values[:, columns].transpose(2, 0, 1)
            for beyond in (*range(-radius, 0), *range(span, span + radius)):
                padded[:, start + radius + beyond] = padded[:, start + radius + int(reflected(np.array(beyond), span))]
        self._channels_first = torch.from_numpy(padded)
        self._first_rows = torch.from_numpy(first_rows)
        self._windows = self._channels_first.unfold(1, patch, 1).unfold(2, patch, 1)

    def to(self, device: torch.device) -> PatchImage:
        """A copy of the image in the memory of a device; itself where it is there."""
        if self._windows.device == device:
            return self
        moved = copy.copy(self)
        moved._first_rows = self._first_rows.to(device)
        moved._windows = self._channels_first.to(device).unfold(1, self._patch, 1).unfold(2, self._patch, 1)
        return moved

    def patches(self, pixels: Tensor) -> Tensor:
        """Patches, float32 `(n, channels, p, p)`, around flat pixel indices `(n,)`."""
        return self._windows[:, self._first_rows[pixels // self._width], pixels % self._width].transpose(0, 1)
