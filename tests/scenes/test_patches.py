from __future__ import annotations

import numpy as np
import pytest

from hsiedge.errors import SceneError
from hsiedge.scenes.cubes import reflected
from hsiedge.scenes.patches import batches, check_patch, cut, extract

CUBE = np.random.default_rng(0).integers(0, 60_000, (9, 13, 4), np.uint16)


def by_hand(cube: np.ndarray, pixels: np.ndarray, patch: int) -> np.ndarray:
    """Windows of the cube that numpy has padded."""
    radius, width = patch // 2, cube.shape[1]
    padded = np.pad(cube, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    windows = [padded[p // width : p // width + patch, p % width : p % width + patch] for p in pixels.tolist()]
    return np.stack(windows).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("patch", [1, 3, 5, 9])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_extract_reflects_as_numpy_does(patch: int, dtype: type) -> None:
    cube = (CUBE // 2).astype(dtype)
    pixels = np.random.default_rng(1).permutation(9 * 13)
    patches = extract(cube, pixels, patch)
    assert patches.dtype == dtype
    assert patches.flags.c_contiguous
    assert (patches == by_hand(cube, pixels, patch)).all()


def test_extract_of_a_single_pixel() -> None:
    assert extract(CUBE[:1, :1], np.array([0]), 1).shape == (1, 4, 1, 1)
    assert extract(CUBE, np.array([], np.intp), 3).shape == (0, 4, 3, 3)


def test_extract_of_a_memory_map(tmp_path: object) -> None:
    np.save(f"{tmp_path}/a.npy", CUBE)
    mapped = np.load(f"{tmp_path}/a.npy", mmap_mode="r")
    pixels = np.array([0, 50, 116])
    assert (extract(mapped, pixels, 5) == by_hand(CUBE, pixels, 5)).all()


@pytest.mark.parametrize("patch", [1, 3, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_cut_gives_the_patches_of_a_line(patch: int, dtype: type) -> None:
    radius, cube = patch // 2, (CUBE // 256).astype(dtype)
    strip = np.pad(cube, ((0, 0), (radius, radius), (0, 0)), mode="reflect")[4 - radius : 5 + radius]
    patches = cut(strip.transpose(2, 0, 1), patch)
    assert patches.dtype == dtype
    assert patches.flags.c_contiguous
    assert (patches == extract(cube, 4 * 13 + np.arange(13), patch)).all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reflected(size: int) -> None:
    for beyond in (size - 1, 3 * size):  # at one edge once, and to and fro
        indices = np.arange(-beyond, size + beyond)
        assert (reflected(indices, size) == np.pad(np.arange(size), beyond, mode="reflect")).all()


def test_batches() -> None:
    pixels = np.random.default_rng(2).permutation(9 * 13)
    pieces = list(batches(CUBE, pixels, 3, 50))
    assert [len(piece) for piece, _ in pieces] == [50, 50, 17]
    assert (np.concatenate([piece for piece, _ in pieces]) == pixels).all()
    assert (np.concatenate([patches for _, patches in pieces]) == by_hand(CUBE, pixels, 3)).all()
    assert list(batches(CUBE, pixels[:0], 3)) == []


def test_check_patch() -> None:
    for patch in (1, 3, 9):
        check_patch(patch, (9, 13))
    for patch in (0, 2, 8, -1, -3):
        with pytest.raises(SceneError, match=f"patch={patch}: an odd number of pixels, 1 or more, is expected"):
            check_patch(patch, (9, 13))
    for shape in ((9, 13), (13, 9)):
        with pytest.raises(SceneError, match="patch 11 is wider than the scene"):
            check_patch(11, shape)
