"""Patches: the neighbourhoods of pixels, reflected at the true edges of the scene, or of the flight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError
from hsiedge.scenes.cubes import CubeLike, reflected, spans_of
from hsiedge.scenes.scene import Scene


def check_patch(patch: int, shape: tuple[int, int], place: str = "the scene") -> None:
    """Raises SceneError unless `patch` is odd and no wider than the scene or file, whose name is `place`."""
    if patch < 1 or patch % 2 == 0:
        raise SceneError("an odd number of pixels, 1 or more, is expected", option="patch", value=patch)
    if patch > min(shape):
        raise SceneError(f"patch {patch} is wider than {place} ({shape[0]} x {shape[1]} pixels)")


def extract(cube: CubeLike, pixels: NDArray[np.integer], patch: int) -> NDArray[Any]:
    """Patches `(n, bands, patch, patch)` in the stored dtype, centred on flat pixel indices `(n,)` (row * width + column)."""
    return np.ascontiguousarray(cube[_around(cube, pixels, patch)].transpose(0, 3, 1, 2))


def _around(cube: CubeLike, pixels: NDArray[np.integer], patch: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows `(n, p, 1)` and columns `(n, 1, p)` of the patches around pixels, reflected at the edges of their spans."""
    spans = np.array(spans_of(cube), np.intp)
    radius = np.arange(patch) - patch // 2
    row, column = np.divmod(pixels, cube.shape[1])
    top, height, width = spans[np.searchsorted(spans[:, 0], row, "right") - 1].T[:, :, None]
    rows = top + reflected(row[:, None] - top + radius, height)
    return rows[:, :, None], reflected(column[:, None] + radius, width)[:, None, :]


def spectra_at(scene: Scene, pixels: NDArray[np.intp]) -> NDArray[Any]:
    """Spectra `(n, bands)` in the stored dtype, at flat pixel indices."""
    return np.asarray(scene.cube[pixels // scene.shape[1], pixels % scene.shape[1]])


def surrounded(cube: CubeLike, first: int, last: int, radius: int) -> NDArray[Any]:
    """Rows from `first` to before `last` of a cube, with `radius` around, `(n + 2 radius, width + 2 radius, bands)`.

    Where the cube is a stack, they end with the flight that they begin in.
    """
    top, height, width = next(span for span in reversed(spans_of(cube)) if span.top <= first)
    rows = top + reflected(np.arange(first - radius, min(last, top + height) + radius) - top, height)
    columns = reflected(np.arange(-radius, cube.shape[1] + radius), width)
    return np.asarray(cube[rows[:, None], columns])


def touches_nodata(scene: Scene, pixels: NDArray[np.integer], patch: int) -> NDArray[np.bool_]:
    """Whether the patch around each flat pixel index holds a pixel without data."""
    if not scene.empty.any():
        return np.zeros(len(pixels), bool)
    return np.asarray(scene.empty[_around(scene.cube, pixels, patch)].any((1, 2)))


def cut(planes: NDArray[Any], patch: int) -> NDArray[Any]:
    """All patches `(n, bands, p, p)` of a strip `(bands, p, n + p - 1)`, C-contiguous; its dtype is kept.

    The rows of a patch are copied as single items p pixels long: half the time of copying pixel by pixel.
    """
    planes = np.ascontiguousarray(planes)
    bands, rows, width = planes.shape
    count, size = width - patch + 1, planes.itemsize
    # Spelled out: numpy leaves the strides of dimensions of size 1 undefined.
    strides = (size, rows * width * size, width * size)
    windows: NDArray[Any] = np.ndarray((count, bands, patch), np.dtype((np.void, patch * size)), planes, 0, strides)
    return np.ascontiguousarray(windows).view(planes.dtype).reshape(count, bands, patch, patch)


def cut_rows(rows: NDArray[Any], patch: int) -> NDArray[Any]:
    """All patches `(n, p, p, bands)` of a strip `(p, n + p - 1, bands)`, C-contiguous, bands last; its dtype is kept."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, patch, axis=1)  # (p, n, bands, p)
    return np.ascontiguousarray(windows.transpose(1, 0, 3, 2))


def batches(
    cube: CubeLike, pixels: NDArray[np.integer], patch: int, batch: int = 256
) -> Iterator[tuple[NDArray[np.integer], NDArray[Any]]]:
    """`pixels` in pieces of `batch`, each with its patches; memory is that of one piece."""
    for start in range(0, len(pixels), batch):
        piece = pixels[start : start + batch]
        yield piece, extract(cube, piece, patch)
