"""Cubes of scenes: arrays, or what is like one and reads its rows when they are asked for.

A cube has spans: rows that lie side by side on the ground. One scene is one span; flights that were put one below the other
(`hsiedge.scenes.flights`) are one each, and a patch at the edge of a flight is reflected there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsiedge.scenes.io.cube import Cube, fits, let_go

HELD = 512 << 20
"""Bytes up to which a cube that cannot be mapped is kept in memory; a larger one is read by rows when it is needed."""
_AHEAD = 16 << 20  # bytes of rows that are read at a time


class Span(NamedTuple):
    """Rows of a cube that belong together: the first, how many, and how many of the cube's columns they fill."""

    top: int
    height: int
    width: int


class CubeLike(Protocol):
    """Stored values `(height, width, bands)`: an ndarray, a mapped file, or a `StackedCube`.

    It is indexed by a row, by a slice of rows, or by two arrays of rows and columns that are broadcast together; `np.asarray`
    reads all of it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width, bands."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored one."""

    def __getitem__(self, index: Any, /) -> Any:
        """Rows `(n, width, bands)`, or spectra `(..., bands)`."""

    def __array__(self) -> NDArray[Any]:
        """All of it, in memory."""


def reflected(indices: NDArray[np.integer], size: int | NDArray[np.integer]) -> NDArray[np.intp]:
    """Indices beyond 0..size-1 mirrored back at the edge pixels, to and fro (numpy's "reflect")."""
    period = np.maximum(1, 2 * (np.asarray(size, np.intp) - 1))
    inside = np.asarray(indices, np.intp) % period
    return np.where(inside >= size, period - inside, inside)


def spans_of(cube: CubeLike) -> tuple[Span, ...]:
    """Spans of a cube: one, unless it is a stack of flights."""
    spans: tuple[Span, ...] | None = getattr(cube, "spans", None)
    return spans or (Span(0, cube.shape[0], cube.shape[1]),)


class StackedCube:
    """Cubes one below the other, of which some rows are in memory at a time: flights, or one file larger than memory.

    Right of a narrower cube lies its mirror image, as far as the widest one goes.

    Args:
        cubes: of the same bands and dtype, which stay readable.
    """

    def __init__(self, cubes: Sequence[Cube]) -> None:
        self._cubes = tuple(cubes)
        tops = np.cumsum([0, *(cube.shape[0] for cube in cubes)]).tolist()
        self.spans = tuple(Span(top, *cube.shape) for top, cube in zip(tops, cubes))
        self.shape = (tops[-1], max(span.width for span in self.spans), cubes[0].bands)
        self.dtype = cubes[0].dtype
        self._recent = 0, np.empty((0, *self.shape[1:]), self.dtype)
        self._ahead = max(1, _AHEAD // (self.shape[1] * self.shape[2] * self.dtype.itemsize))

    def as_cube(self, path: Path) -> Cube:
        """The stack as a reader gives a cube, with nothing said of what it means."""
        return Cube(path, self.shape[:2], self.shape[2], self.dtype, self.rows)

    def read_as(self, cube: Cube) -> StackedCube:
        """A stack of the same spans whose rows are those of another cube of its height and width."""

        def part(span: Span) -> Cube:
            def read(first: int, count: int) -> NDArray[Any]:
                return cube.read(span.top + first, min(count, span.height - first))[:, : span.width]

            return Cube(cube.path, (span.height, span.width), cube.bands, cube.dtype, read)

        return StackedCube([part(span) for span in self.spans])

    def rows(self, first: int, count: int) -> NDArray[Any]:
        """Rows `(n, width, bands)` from `first` on, an array of their own; fewer at the end."""
        columns, pieces = np.arange(self.shape[1]), []
        for (top, height, width), cube in zip(self.spans, self._cubes):
            start, stop = max(first, top), min(first + count, top + height)
            if start < stop:
                piece = cube.read(start - top, stop - start)
                pieces.append(piece if width == len(columns) else piece[:, reflected(columns, width)])
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *pieces])

    def __getitem__(self, index: Any) -> NDArray[Any]:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        if isinstance(rows, slice):
            chosen = range(self.shape[0])[rows]
            if chosen.step == 1:
                values = self.rows(chosen.start, len(chosen))
            else:
                values = np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *(self.rows(row, 1) for row in chosen)])
            return values[(slice(None), *rest)]
        if isinstance(rows, (int, np.integer)):
            row: NDArray[Any] = self.rows(range(self.shape[0])[rows], 1)[(0, *rest)]
            return row
        if len(rest) != 1 or np.asarray(rows).dtype.kind not in "iu":
            raise IndexError("a row, a slice of rows, or arrays of rows and columns were expected")
        return self._spectra(*np.broadcast_arrays(rows, rest[0]))

    def _spectra(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[Any]:
        """Spectra `(..., bands)` at rows and columns: of arrays from where they lie, else from runs of rows that are read."""
        spectra = np.empty((*rows.shape, self.shape[2]), self.dtype)
        for (top, height, width), cube in zip(self.spans, self._cubes):
            inside = (rows >= top) & (rows < top + height)
            if cube.array is None or not inside.any():
                continue
            spectra[inside] = cube.array[rows[inside] - top, reflected(columns[inside], width)]
            let_go(cube.array)
            rows = np.where(inside, -1, rows)
        needed = np.unique(rows[rows >= 0])
        while len(needed):
            first = int(needed[0])
            run = int((needed[: self._ahead] - first < self._ahead).sum())
            values = self._read_ahead(first, int(needed[run - 1]) + 1)
            inside = (rows >= first) & (rows < first + len(values))
            spectra[inside] = values[rows[inside] - first, columns[inside]]
            needed = needed[run:]
        return spectra

    def _read_ahead(self, first: int, stop: int) -> NDArray[Any]:
        """Rows from `first` to before `stop`, from those that were read last where these have them."""
        start, recent = self._recent
        if not start <= first < stop <= start + len(recent):
            start, recent = self._recent = first, self.rows(first, max(stop - first, self._ahead // 2))
        return recent[first - start : stop - start]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for first in range(0, self.shape[0], self._ahead):
            yield from self.rows(first, self._ahead)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it. Raises SceneError where that is more than fits into the memory."""
        fits(self._cubes[0].path, self.shape, self.dtype.itemsize)
        return self.rows(0, self.shape[0]).astype(dtype or self.dtype, copy=False)


def kept_open(reopen: Callable[[], AbstractContextManager[Cube]], bands: NDArray[np.intp]) -> StackedCube:
    """Some bands of a cube whose file stays open for as long as what is returned lives."""
    stack = ExitStack()
    cube = stack.enter_context(reopen())
    kept = Cube(cube.path, cube.shape, len(bands), cube.dtype, lambda first, count: cube.read(first, count)[:, :, bands])
    stacked = StackedCube([kept])
    weakref.finalize(stacked, stack.close)
    return stacked
