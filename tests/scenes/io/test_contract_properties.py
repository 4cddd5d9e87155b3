"""Scenes drawn at random, written in every format and spelling, mean to us what they meant to who wrote them, and to GDAL."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _package in ("hypothesis", "rasterio", "h5py", "scipy"):
    pytest.importorskip(_package, reason="it writes or draws the files, and is not installed")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from hsiedge.scenes.io.cube import Cube  # noqa: E402
from hsiedge.scenes.io.georeference import difference, same_crs  # noqa: E402
from hsiedge.scenes.io.reader import open_cube  # noqa: E402
from tests.scenes.io import samples  # noqa: E402
from tests.scenes.io.samples import FORMATS, Sample, written_as  # noqa: E402

QUICK, SLOW = (settings(max_examples=count, deadline=None, derandomize=True, database=None) for count in (20, 100))


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def check(cube: Cube, sample: Sample) -> None:
    """Compares what a reader says with what was drawn."""
    height, width, bands = sample.array.shape
    assert (cube.shape, cube.bands, cube.dtype) == ((height, width), bands, sample.array.dtype)
    rows = cube.read(0, height)
    np.testing.assert_array_equal(rows, sample.array)
    np.testing.assert_array_equal(cube.read(1, 1), sample.array[1:2])
    np.testing.assert_array_equal(cube.without_data(rows, 0), sample.empty)
    plain = sample.scale is None or (set(sample.scale) == {1.0} and set(sample.offset or ()) == {0.0})
    assert (cube.scale is None) == plain
    if cube.scale is not None:
        assert cube.scale == pytest.approx(sample.scale, rel=1e-12)
        assert cube.offset == pytest.approx(sample.offset, rel=1e-12)
    assert cube.wavelengths == pytest.approx(sample.wavelengths, rel=1e-12)
    assert cube.good == sample.good
    check_place(cube, sample.transform, f"EPSG:{sample.epsg}" if sample.epsg else "")
    assert cube.notes == ()


def check_place(cube: Cube, transform: tuple[float, ...] | None, crs: str) -> None:
    place = cube.georeference
    if transform is None and not crs:
        assert place is None
        return
    assert place is not None
    if transform is not None:
        assert place.transform == pytest.approx(transform, rel=1e-12, abs=1e-9)
    assert bool(place.crs) == bool(crs)
    assert not crs or same_crs(place.crs, crs)


def check_format(name: str, data: Any) -> None:
    sample = written_as(name, data.draw(samples.samples()))
    with folder() as place, open_cube(FORMATS[name][0](data.draw, place, sample)) as cube:
        check(cube, sample)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@QUICK
def test_a_file_means_what_was_written(name: str, data: Any) -> None:
    check_format(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
@SLOW
def test_many_files_mean_what_was_written(name: str, data: Any) -> None:
    check_format(name, data)


def check_pair(data: Any) -> None:
    """One scene in two formats: the same values in their units, pixels without data, wavelengths and place."""
    first, second = data.draw(st.permutations(list(FORMATS)))[:2]
    sample = written_as(first, written_as(second, data.draw(samples.samples())))
    with folder() as one, folder() as other:
        paths = FORMATS[first][0](data.draw, one, sample), FORMATS[second][0](data.draw, other, sample)
        with open_cube(paths[0]) as cube, open_cube(paths[1]) as again:
            np.testing.assert_allclose(physical(cube), physical(again), rtol=1e-12)
            rows = cube.read(0, cube.shape[0]), again.read(0, again.shape[0])
            np.testing.assert_array_equal(cube.without_data(rows[0], 0), again.without_data(rows[1], 0))
            assert cube.wavelengths == pytest.approx(again.wavelengths)
            assert cube.good == again.good
            assert not difference(cube.georeference, again.georeference, cube.shape)
            assert (cube.georeference is None) == (again.georeference is None)


def physical(cube: Cube) -> np.ndarray:
    rows = cube.read(0, cube.shape[0]).astype(np.float64)
    return rows * (cube.scale or 1.0) + (cube.offset or 0.0)


@given(data=st.data())
@QUICK
def test_two_formats_mean_the_same(data: Any) -> None:
    check_pair(data)


@pytest.mark.slow
@given(data=st.data())
@SLOW
def test_many_pairs_mean_the_same(data: Any) -> None:
    check_pair(data)


def check_with_gdal(name: str, data: Any) -> None:
    """GDAL's own view of a file: values, nodata, scales, place; of netCDF with the axes in CF's order alone."""
    import rasterio

    sample = written_as(name, data.draw(samples.samples()))
    with folder() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files without coordinates
        if name == "netcdf":
            path = samples.netcdf(data.draw, place, sample, ("bands", "rows", "columns"))
            image, driver = f"netcdf:{path}:reflectance", "netCDF"
        elif name == "envi":  # GDAL knows no byte order mark
            path = samples.envi(data.draw, place, sample, encodings=("utf-8", "latin-1"))
            image, driver = next(file for file in place.iterdir() if file.suffix != ".hdr"), "ENVI"
        else:
            path = image = samples.geotiff(data.draw, place, sample)
            driver = "GTiff"
        with open_cube(path) as cube:
            with rasterio.Env(GDAL_NETCDF_BOTTOMUP="NO"), rasterio.open(image, driver=driver) as theirs:
                check_values(cube, theirs)
            if sample.transform is not None and (
                sample.epsg or name != "netcdf"
            ):  # without, GDAL does not look for coordinates
                with rasterio.open(image, driver=driver) as theirs:
                    check_place(cube, _stored(theirs, sample), theirs.crs.to_wkt() if sample.epsg else "")


def check_values(cube: Cube, theirs: Any) -> None:
    np.testing.assert_array_equal(theirs.read().transpose(1, 2, 0), cube.read(0, cube.shape[0]))
    if cube.quantity != "reflectance":  # GDAL ignores `reflectance scale factor`
        assert (cube.scale or (1.0,) * cube.bands) == pytest.approx(theirs.scales)
        assert (cube.offset or (0.0,) * cube.bands) == pytest.approx(theirs.offsets)
    for ours, value in zip(cube.nodata or (None,) * cube.bands, theirs.nodatavals):
        assert (ours is None) == (value is None)
        assert value is None or ours == value or (math.isnan(value) and math.isnan(ours or 0))


def _stored(theirs: Any, sample: Sample) -> tuple[float, ...]:
    """GDAL's transform of the rows as they are stored; rows of netCDF that go north it turns."""
    a, b, c, d, e, f = tuple(theirs.transform)[:6]
    turned = sample.transform is not None and e * sample.transform[4] < 0
    return (a, b, c, d, -e, f + theirs.height * e) if turned else (a, b, c, d, e, f)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["envi", "geotiff", "netcdf"])
@given(data=st.data())
@QUICK
def test_gdal_sees_the_same(name: str, data: Any) -> None:
    check_with_gdal(name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["envi", "geotiff", "netcdf"])
@given(data=st.data())
@SLOW
def test_gdal_sees_the_same_in_many(name: str, data: Any) -> None:
    check_with_gdal(name, data)
