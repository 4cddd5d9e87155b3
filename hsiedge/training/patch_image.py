"""Patches in training: cut on the fly from the standardized spectra of a scene, or of several flights."""

from __future__ import annotations

import copy
import os
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsiedge.errors import OutputError
from hsiedge.scenes.cubes import HELD, CubeLike, Span, reflected, spans_of
from hsiedge.scenes.io.cube import let_go

_BLOCK = 32 << 20  # bytes of float32 spectra that are made at a time
_KEPT = 4  # batches after which pages of a file are let go: what has been read counts as memory of this process
Spectra = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Standardized float32 spectra `(n, width, channels)` of stored rows `(n, width, bands)`; row by row, so that blocks of rows,
however many, give the same bits."""


class PatchImage:
    """A whole scene in training: standardized (and projected) spectra, from which patches are cut on the fly.

    Up to 512 MiB (`cubes.HELD`) it is held in memory. A larger one is a file in the folder of temporary files, whose rows are
    made when a patch first needs them; patches are the same to the bit.

    Args:
        cube: `(height, width, bands)`, of which some rows are read at a time; reflected at the edges of each of its spans.
        patch: p, odd.
        spectra: makes float32 of stored rows; left out, they are taken as they are.
        channels: that `spectra` gives; left out, as many as there are bands.

    """

    def __init__(self, cube: CubeLike, patch: int, spectra: Spectra | None = None, channels: int | None = None) -> None:
        self._width, self._patch, self._device = cube.shape[1], patch, torch.device("cpu")
        rows = _PaddedRows(cube, patch // 2, spectra, channels or cube.shape[2])
        self._first_rows = torch.from_numpy(rows.first_rows)
        self._file: _RowFile | None = None
        if 4 * int(np.prod(rows.shape)) > HELD:
            self._file = _RowFile(rows, patch)
            return
        padded = np.empty((rows.shape[2], *rows.shape[:2]), np.float32)
        for first in range(0, rows.shape[0], rows.block):
            padded[:, first : first + rows.block] = rows.make(first).transpose(2, 0, 1)
        self._channels_first = torch.from_numpy(padded)
        self._windows = self._channels_first.unfold(1, patch, 1).unfold(2, patch, 1)

    def to(self, device: torch.device) -> PatchImage:
        """A copy of the image in the memory of a device; itself where it is there. A file stays, and its patches are sent."""
        if self._device == device:
            return self
        moved = copy.copy(self)
        moved._device = device
        if self._file is None:
            moved._first_rows = self._first_rows.to(device)
            moved._windows = self._channels_first.to(device).unfold(1, self._patch, 1).unfold(2, self._patch, 1)
        return moved

    def patches(self, pixels: Tensor) -> Tensor:
        """Patches, float32 `(n, channels, p, p)`, around flat pixel indices `(n,)`. Raises OutputError where a disk is full."""
        pixels = pixels if self._file is None else pixels.cpu()
        rows, columns = self._first_rows[pixels // self._width], pixels % self._width
        if self._file is None:
            return self._windows[:, rows, columns].transpose(0, 1)
        return torch.from_numpy(self._file.patches(rows.numpy(), columns.numpy())).to(self._device)


class _PaddedRows:
    """Rows of an image with `radius` pixels around each span, which are made some at a time.

    Attributes:
        shape: (height, width, channels), padded.
        first_rows: int64, the first padded row of the patch around a pixel, by the pixel's row.
        block: rows that are made at a time.
    """

    def __init__(self, cube: CubeLike, radius: int, spectra: Spectra | None, channels: int) -> None:
        self._cube, self._radius, self._spectra, spans = cube, radius, spectra, spans_of(cube)
        self.shape = (cube.shape[0] + 2 * radius * len(spans), cube.shape[1] + 2 * radius, channels)
        self.first_rows = np.concatenate([2 * radius * place + np.arange(*_rows(span)) for place, span in enumerate(spans)])
        sources = [span.top + reflected(np.arange(-radius, span.height + radius), span.height) for span in spans]
        self._sources = np.concatenate(sources)  # the row of the cube that each padded row is
        self._widths = np.repeat([span.width for span in spans], [len(rows) for rows in sources])
        self.block = max(1, _BLOCK // (4 * self.shape[1] * max(cube.shape[2], channels)))

    def make(self, first: int) -> NDArray[np.float32]:
        """A block of padded rows, float32 `(n, width, channels)`."""
        block = slice(first, first + self.block)
        sources, widths = self._sources[block], self._widths[block]
        start, stop = int(sources.min()), int(sources.max()) + 1
        stored = self._cube[start:stop]
        values = self._spectra(stored) if self._spectra else stored.astype(np.float32, copy=False)
        columns = np.arange(-self._radius, self.shape[1] - self._radius)
        return values[(sources - start)[:, None], reflected(columns, widths[:, None])]


def _rows(span: Span) -> tuple[int, int]:
    return span.top, span.top + span.height


class _RowFile:
    """Padded rows in a file without a name, each block made when a patch first needs it; the others take no room on the disk.

    A patch is copied as p items, each p pixels of a row, which lie side by side.
    """

    def __init__(self, rows: _PaddedRows, patch: int) -> None:
        self._source, self._patch, (height, width, channels) = rows, patch, rows.shape
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it is there for as long as the image is
        weakref.finalize(self, self._file.close)
        self._file.truncate(4 * height * width * channels)
        self._pixels = np.memmap(self._file, np.float32, "r", shape=rows.shape)
        item = np.dtype((np.void, 4 * channels * patch))
        shape, strides = (height, width - patch + 1), self._pixels.strides[:2]
        self._pieces: NDArray[Any] = np.ndarray(shape, item, self._pixels, 0, strides)
        self._made = np.zeros(-(-height // rows.block), bool)
        self._batches = 0

    def patches(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Patches `(n, channels, p, p)` whose upper left corners lie at padded rows and columns `(n,)`."""
        below = rows[:, None] + np.arange(self._patch)
        for block in np.unique(below // self._source.block):
            if not self._made[block]:
                self._make(int(block))
        values = self._pieces[below, columns[:, None]].view(np.float32)
        self._batches += 1
        if self._batches % _KEPT == 0:
            let_go(self._pixels)
        side, channels = self._patch, self._source.shape[2]
        return np.ascontiguousarray(values.reshape(len(rows), side, side, channels).transpose(0, 3, 1, 2))

    def _make(self, block: int) -> None:
        """Writes a block. Raises OutputError where the disk is full."""
        first = block * self._source.block
        content = np.ascontiguousarray(self._source.make(first)).view(np.uint8).ravel()
        start = first * self._pixels.strides[0]
        try:
            while len(content):
                count = os.pwrite(self._file.fileno(), content.data, start)
                content, start = content[count:], start + count
        except OSError as error:
            where = f"{tempfile.gettempdir()}, where patches are kept"
            raise OutputError(f"cannot write to {where}: {error.strerror}; $TMPDIR names another place") from error
        self._made[block] = True
