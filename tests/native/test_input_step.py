"""The library's way from raw counts to a network's integers: those of numpy in two steps, to the bit, on each kernel set."""

from __future__ import annotations

import numpy as np
import pytest

from hsiedge.card import Affine
from hsiedge.errors import OptionError
from hsiedge.native import library
from hsiedge.native.library import KERNELS, is_available, kernel_sets
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.scenes.references import NODATA, Calibration

pytestmark = pytest.mark.skipif(not is_available(), reason="the native library was not built: there was no C compiler")
SETS = kernel_sets() if is_available() else []
WIDTH, BANDS = 37, 133
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
RNG = np.random.default_rng(0)
AFFINES = {
    "steps": Affine([1000.0] * BANDS, [1.0] * BANDS, "uint8", 128, 16.0),
    "signed steps": Affine([1000.0] * BANDS, [1.0] * BANDS, "int8", 0, 16.0),
    "floats": Affine(RNG.uniform(100, 900, BANDS).tolist(), RNG.uniform(0.01, 0.2, BANDS).tolist(), "uint8", 128, 1.0),
    "16 bits": Affine([10.0] * BANDS, [1.0] * BANDS, "int16", 0, 0.5),
}


def calibration() -> Calibration:
    """One with dead elements, some at the ends of the spectrum, and two columns without a live one."""
    dark = RNG.uniform(90, 110, (WIDTH, BANDS)).astype(np.float32)
    gain = (1e4 / RNG.uniform(100, 3500, (WIDTH, BANDS))).astype(np.float32)
    dead = np.array([[0, 0, 4, 4, 4, 20, 36], [0, 132, 5, 6, 100, 1, 132]])
    between = np.array([[1, 131, 4, 4, 99, 0, 131], [1, 131, 7, 7, 101, 2, 131]])
    share = np.array([0.5, 0.5, 1 / 3, 2 / 3, 0.5, 0.5, 0.5])
    gain[tuple(dead)] = gain[[9, 30]] = 0
    return Calibration(dark, gain, dead, between, np.stack([1 - share, share]).astype(np.float32), np.array([9, 30]), ())


def counts(dtype: str, rows: int = 5) -> np.ndarray:
    """Counts over all that a dtype holds, and some that are no numbers."""
    values = RNG.uniform(-300, 4000, (rows, WIDTH, BANDS))
    if dtype[0] == "f":
        values[0, 3, :4] = np.nan, np.inf, -np.inf, 1e30
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    values[0, 5, :2] = limits.min, limits.max
    return np.clip(values, limits.min, limits.max // 2 if limits.bits == 64 else limits.max).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", SETS)
def test_reflectance(kernels: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, kernels)
    references, raw = calibration(), counts(dtype)
    empty = RNG.random(raw.shape[:2]) < 0.1
    for mask in (None, empty):
        expected = references.apply_numpy(raw, mask)
        np.testing.assert_array_equal(references.apply(raw, mask), expected)
        wide = np.zeros((len(raw), WIDTH + 5, BANDS), raw.dtype)
        wide[:, 2:-3] = raw
        np.testing.assert_array_equal(references.apply(wide[:, 2:-3], mask), expected)
    assert (expected[empty] == NODATA).all()
    assert (expected[:, [9, 30]] == NODATA).all()
    assert len(np.unique(expected)) > 60


def test_an_unknown_kernel_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not leave the rows as the memory happened to be."""
    monkeypatch.setenv(KERNELS, "sse9")
    with pytest.raises(OptionError, match=r"this processor runs .*plain"):
        calibration().apply(counts("u2"))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("kernels", SETS)
def test_integers_in_one_pass(kernels: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS, kernels)
    references, affine = calibration(), InputAffine(AFFINES[name])
    bands = np.r_[3:60, 70, 90:BANDS]
    fill = RNG.integers(0, 3000, len(bands)).astype(np.uint16)
    for chosen, filled in ((None, RNG.integers(0, 3000, BANDS).astype(np.uint16)), (bands, fill)):
        of_bands = AFFINES[name] if chosen is None else _of(AFFINES[name], bands)
        affine, tables, raw = InputAffine(of_bands), references.tables(chosen, filled), counts("u2")
        empty = references.missing(raw.shape[:2], RNG.random(raw.shape[:2]) < 0.1)
        reflectance = references.apply_numpy(raw, empty)[:, :, slice(None) if chosen is None else chosen]
        reflectance[empty] = filled
        expected = np.empty(reflectance.shape, of_bands.dtype)
        affine.write_blocks(reflectance, expected)
        np.testing.assert_array_equal(affine.of_rows(raw, references=tables, empty=empty), expected)
        room = np.full((len(raw), WIDTH + 4, expected.shape[-1]), 77, of_bands.dtype)  # between columns that are reflected
        affine.of_rows(raw, room[:, 1:-3], tables, empty)
        np.testing.assert_array_equal(room[:, 1:-3], expected)
        assert (room[:, [0, -3, -2, -1]] == 77).all()
        part = tables.part(slice(11, WIDTH))
        np.testing.assert_array_equal(affine.of_rows(raw[:, 11:], references=part, empty=empty[:, 11:]), expected[:, 11:])
    assert len(np.unique(expected)) > 100


def _of(affine: Affine, bands: np.ndarray) -> Affine:
    offset, scale = (np.array(entry)[bands].tolist() for entry in (affine.offset, affine.scale))
    return Affine(offset, scale, affine.dtype, affine.zero_point, affine.step)


def test_without_the_library_numpy_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    references, raw = calibration(), counts("u2")
    expected = references.apply(raw)
    monkeypatch.setattr("hsiedge.native.input_step.is_available", lambda: False)
    monkeypatch.setattr(library, "load_library", lambda: pytest.fail("the library was called"))
    np.testing.assert_array_equal(references.apply(raw), expected)
