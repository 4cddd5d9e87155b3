"""HDF5 and NetCDF-4 label maps and cubes, written by h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.scenes.io.reader import read_labels
from tests.scenes.io.files import facts, read, refused

h5py = pytest.importorskip("h5py", reason="h5py writes HDF5, and is not installed")

LABELS = np.array([[0, 1, 2, 2, 1, 0]] * 4, np.uint8)
CUBE = np.arange(4 * 6 * 3).reshape(4, 6, 3)


def write(path: Path, array: np.ndarray, names: tuple[str, ...] = (), name: str = "data", **attributes: Any) -> Path:
    """A variable with the names of its dimensions, and coordinates of pixel centres for x and y."""
    with h5py.File(path, "a") as file:
        variable = file.create_dataset(name, data=array)
        for axis, dimension in enumerate(names):
            if dimension not in file:
                size = array.shape[axis]
                values = {"x": 500015 + 30.0 * np.arange(size), "y": 5799985 - 30.0 * np.arange(size)}
                file[dimension] = values.get(dimension, np.arange(size) * 10.0)
                file[dimension].make_scale(dimension)
            variable.dims[axis].attach_scale(file[dimension])
        variable.attrs.update(attributes)
    return path


class TestLabels:
    def test_a_variable_of_two_dimensions(self, tmp_path: Path) -> None:
        path = write(tmp_path / "labels.h5", LABELS)
        write(path, np.zeros((2, 2), np.uint8), name="group/other")
        assert (read_labels(path, "data").array == LABELS).all()
        assert (read_labels(path, "/data").array == LABELS).all()
        refused(path, r"name the variable; it has data 4x6, group/other 2x2; use labels_key=NAME", ndim=2)

    @pytest.mark.parametrize("names", [("x", "y"), ("column", "row"), ("lon", "lat"), ("x", "unnamed"), ("unnamed", "y")])
    def test_dimensions_that_are_named_the_other_way(self, tmp_path: Path, names: tuple[str, str]) -> None:
        assert (read_labels(write(tmp_path / "labels.nc", LABELS.T, names)).array == LABELS).all()

    def test_coordinates(self, tmp_path: Path) -> None:
        place = read_labels(write(tmp_path / "labels.nc", LABELS, ("y", "x"))).georeference
        assert place is not None
        assert place.transform == (30, 0, 500000, 0, -30, 5800000)

    @pytest.mark.parametrize("axis", [0, 2])
    def test_a_third_axis_of_length_one(self, tmp_path: Path, axis: int) -> None:
        assert (read_labels(write(tmp_path / "labels.h5", np.expand_dims(LABELS, axis))).array == LABELS).all()
        names = ("time", "x", "y") if axis == 0 else ("x", "y", "time")
        turned = write(tmp_path / "turned.h5", np.expand_dims(LABELS.T, axis), names)
        assert (read_labels(turned).array == LABELS).all()

    def test_flags_are_classes(self, tmp_path: Path) -> None:
        values = np.array([1, 2], np.uint8)
        labels = read_labels(write(tmp_path / "labels.nc", LABELS, flag_values=values, flag_meanings="winter_wheat maize"))
        assert labels.class_names == {1: "winter_wheat", 2: "maize"}

    def test_missing_and_true_and_false(self, tmp_path: Path) -> None:
        path = write(tmp_path / "labels.nc", np.where(LABELS == 2, -1, LABELS).astype(np.int8), _FillValue=np.int8(-1))
        assert (read_labels(path).array == np.where(LABELS == 2, 0, LABELS)).all()
        assert (read_labels(write(tmp_path / "mask.h5", LABELS == 2)).array == (LABELS == 2)).all()
        unsigned = np.where(LABELS == 2, 200, LABELS).astype(np.uint8).view(np.int8)
        path = write(tmp_path / "unsigned.nc", unsigned, _Unsigned="true", _FillValue=np.int8(-1))
        assert (read_labels(path).array == np.where(LABELS == 2, 200, LABELS)).all()

    def test_no_label_map(self, tmp_path: Path) -> None:
        refused(write(tmp_path / "cube.h5", CUBE), "has no label map", ndim=2)

    def test_several_missing_values(self, tmp_path: Path) -> None:
        ids = np.where(LABELS == 2, 255, LABELS)
        ids[0, 1] = 254
        path = write(tmp_path / "labels.nc", ids, missing_value=np.array([255, 254], np.uint8), scale_factor=1.0)
        assert (read_labels(path).array == np.where(ids > 1, 0, ids)).all()

    @pytest.mark.parametrize("attribute", ["scale_factor", "add_offset"])
    def test_a_scale(self, tmp_path: Path, attribute: str) -> None:
        refused(write(tmp_path / "labels.nc", LABELS, **{attribute: 0.5}), "a label map with a scale of", ndim=2)

    def test_ids_outside_of_the_valid_range(self, tmp_path: Path) -> None:
        path = write(tmp_path / "labels.nc", LABELS, valid_range=np.array([0, 1], np.uint8))
        assert (read_labels(path).array == np.where(LABELS == 2, 0, LABELS)).all()

    def test_flags_of_unsigned_ids(self, tmp_path: Path) -> None:
        flags = np.array([1, -56], np.int8)
        stored = np.where(LABELS == 2, -56, LABELS).astype(np.int8)
        labels = read_labels(write(tmp_path / "labels.nc", stored, _Unsigned="true", flag_values=flags, flag_meanings="a b"))
        assert labels.class_names == {1: "a", 200: "b"}


class TestCubes:
    def test_unsigned_values_have_unsigned_marks(self, tmp_path: Path) -> None:
        counts = (CUBE * 900).astype(np.uint16)
        counts[0, 0] = 65535
        marks = {"_FillValue": np.int16(-1), "valid_max": np.int16(np.uint16(60000).view(np.int16))}
        cube = facts(write(tmp_path / "cube.nc", counts.view(np.int16), _Unsigned="true", **marks))
        assert (cube.dtype, set(cube.nodata)) == (np.uint16, {65535.0})
        path = tmp_path / "cube.nc"
        assert (read(path) == counts).all()
        assert np.argwhere(without_data(path)).tolist() == [[0, 0], *np.argwhere((counts > 60000).any(-1))[1:].tolist()]

    def test_two_missing_values(self, tmp_path: Path) -> None:
        counts = CUBE.astype(np.int16) + 1
        counts[1, 1, 0], counts[2, 2, 2] = -999, -1
        path = write(tmp_path / "cube.nc", counts, _FillValue=np.int16(-1), missing_value=np.int16(-999))
        assert np.argwhere(without_data(path)).tolist() == [[1, 1], [2, 2]]
        both = write(tmp_path / "list.nc", counts, missing_value=np.array([-1, -999], np.int16))
        assert np.argwhere(without_data(both)).tolist() == [[1, 1], [2, 2]]

    def test_missing_values_of_double_precision(self, tmp_path: Path) -> None:
        values = CUBE.astype(np.float32)
        values[1, 1, 0], values[2, 2, 2] = -0.1, -0.3
        path = write(tmp_path / "cube.nc", values, _FillValue=np.float64(-0.3), missing_value=np.float64(-0.1))
        assert np.argwhere(without_data(path)).tolist() == [[1, 1], [2, 2]]

    def test_a_band_a_variable(self, tmp_path: Path) -> None:
        path = tmp_path / "bands.nc"
        for band in range(8):
            write(path, LABELS, name=f"B{band}")
        refused(path, r"has no cube: none of its variables has three dimensions \(B0 4x6, .*, B4 4x6 and 3 more\)")

    def test_bad_bands_make_no_pixel_invalid(self, tmp_path: Path) -> None:
        counts = CUBE.astype(np.int16) + 1
        counts[:, :, 1] = -5
        counts[1, 1, 0] = -5
        path = write(tmp_path / "cube.nc", counts, valid_min=np.int16(0))
        write(path, np.array([1, 0, 1], np.uint8), name="good_wavelengths")
        assert np.argwhere(without_data(path)).tolist() == [[1, 1]]

    def test_a_grid_mapping_without_wkt_is_told(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.nc", CUBE, ("y", "x", "wavelength"), grid_mapping="utm")
        with h5py.File(path, "a") as file:
            file["utm"] = 0
            file["utm"].attrs["grid_mapping_name"] = "transverse_mercator"
        place = facts(path).georeference
        assert place is not None
        assert place.lost == ("its grid mapping, which is not given as WKT",)

    def test_a_coordinate_that_numbers_the_bands(self, tmp_path: Path) -> None:
        """What rioxarray writes: dimension "band" of 1, 2, 3, which are no micrometres."""
        path = write(tmp_path / "cube.nc", CUBE.astype(np.uint16))
        with h5py.File(path, "a") as file:
            file["band"] = np.arange(1, 4)
            file["band"].make_scale("band")
            file["data"].dims[2].attach_scale(file["band"])
        assert (facts(path).wavelengths, facts(path).notes) == ((), ())

    def test_wavelengths_that_cannot_be_told_are_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.h5", CUBE)
        with h5py.File(path, "a") as file:
            file["wavelengths"] = [10.0, 500.0, 600.0]
            file["wavelengths"].attrs["units"] = "furlongs"
        assert facts(path).notes == ("its wavelengths in 'furlongs' are no lengths that can be told, and are left out",)

    @pytest.mark.parametrize("place", ["group/data", "group", "/"])
    def test_wavelengths_of_the_group_or_the_file(self, tmp_path: Path, place: str) -> None:
        path = write(tmp_path / "cube.h5", CUBE, name="group/data")
        with h5py.File(path, "a") as file:
            file[place].attrs.update(wavelength=[0.4, 0.5, 0.6], wavelength_units="um")
        assert facts(path).wavelengths == pytest.approx((400, 500, 600))

    def test_neon(self, tmp_path: Path) -> None:
        info = b"UTM,  1.000,  1.000,  732000.00,  4713000.0,  1.0,  1.0,  18,  North,  WGS-84,  units=Meters, 0"
        counts, path = CUBE.astype(np.int16), tmp_path / "NEON_D01_HARV_DP3_732000_4712000_reflectance.h5"
        counts[0, 0] = -9999
        with h5py.File(path, "w") as file:
            room = file.create_group("HARV/Reflectance")
            room["Reflectance_Data"] = counts
            room["Reflectance_Data"].attrs.update(Scale_Factor=10000.0, Data_Ignore_Value=-9999.0)
            room["Metadata/Spectral_Data/Wavelength"] = [383.5, 388.5, 393.5]
            room["Metadata/Spectral_Data/FWHM"] = [5.7, 5.7, 5.8]
            room["Metadata/Coordinate_System/Map_Info"] = info
        cube = facts(path)
        assert (cube.scale, cube.offset, cube.quantity) == ((0.0001,) * 3, (0.0,) * 3, "reflectance")
        assert (cube.wavelengths, cube.widths) == ((383.5, 388.5, 393.5), (5.7, 5.7, 5.8))
        assert cube.georeference is not None
        assert (cube.georeference.transform, cube.georeference.crs) == ((1, 0, 732000, 0, -1, 4713000), "EPSG:32618")
        assert np.argwhere(without_data(path)).tolist() == [[0, 0]]

    def test_netcdf_of_version_3_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "cube.nc").write_bytes(b"CDF\x01" + bytes(100))
        refused(tmp_path / "cube.nc", "NetCDF of version 3 is not read; make it version 4: nccopy -k nc4")


class TestConventions:
    """What CF and the NetCDF User Guide let a file say in more than one way."""

    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2", "<i2"])
    def test_default_fill_values(self, tmp_path: Path, dtype: str) -> None:
        fill = np.array({"f4": 9.969209968386869e36, "u2": 65535, "i2": -32767}[dtype[1:]], dtype)
        with h5py.File(tmp_path / "cube.nc", "w") as file:
            data = file.create_dataset("data", CUBE.shape, dtype, chunks=(1, 6, 3), fillvalue=fill)
            data[1:] = CUBE[1:]
        assert without_data(tmp_path / "cube.nc").sum(1).tolist() == [6, 0, 0, 0]
        with h5py.File(tmp_path / "plain.h5", "w") as file:
            file["data"] = np.full(CUBE.shape, fill)
        assert not without_data(tmp_path / "plain.h5").any()

    def test_packed_coordinates_and_wavelengths(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.nc", CUBE, ("y", "x", "wavelength"))
        packed = {"y": (-30.0, 5799985.0, 4), "x": (30.0, 500015.0, 6), "wavelength": (0.5, 400.0, 3)}
        with h5py.File(path, "a") as file:
            for name, (scale, offset, size) in packed.items():
                file[name][:] = np.arange(size)
                file[name].attrs.update(scale_factor=scale, add_offset=offset, units="nm" if size == 3 else "m")
        cube = facts(path)
        assert cube.wavelengths == (400, 400.5, 401)
        assert cube.georeference is not None
        assert cube.georeference.transform == (30, 0, 500000, 0, -30, 5800000)

    @pytest.mark.parametrize(("step", "notes"), [(0.0003, 0), (0.00001, 1)])
    def test_coordinates_of_single_precision(self, tmp_path: Path, step: float, notes: int) -> None:
        path = write(tmp_path / "cube.nc", CUBE)
        with h5py.File(path, "a") as file:
            for name, start, size in (("lat", 48.1, 4), ("lon", 11.3, 6)):
                file[name] = (start + step * np.arange(size)).astype(np.float32)
                file[name].make_scale(name)
                file["data"].dims[0 if name == "lat" else 1].attach_scale(file[name])
        cube = facts(path)
        assert len(cube.notes) == notes
        assert (cube.georeference is None) == bool(notes)

    @pytest.mark.parametrize("word", ["axis", "units"])
    def test_axes_by_their_attributes(self, tmp_path: Path, word: str) -> None:
        path = write(tmp_path / "cube.nc", CUBE.transpose(1, 0, 2), ("nlon", "nlat", "wavelength"))
        with h5py.File(path, "a") as file:
            for name, axis, unit in (("nlon", "X", "degrees_east"), ("nlat", "Y", "degrees_north")):
                file[name].attrs[word] = axis if word == "axis" else unit
        assert (read(path) == CUBE).all()

    @pytest.mark.parametrize("scale", [0.0001, -0.0001])
    def test_a_valid_range_of_unpacked_values(self, tmp_path: Path, scale: float) -> None:
        stored = (CUBE * 90).astype(np.int16)
        stored[0, 0, 0], stored[1, 1, 1], stored[2, 2, 2] = -1, 7001, 7000
        limits = np.sort(np.array([0.0, 7000 * scale]))
        path = write(tmp_path / "cube.nc", stored, scale_factor=scale, valid_range=limits)
        assert np.argwhere(without_data(path)).tolist() == [[0, 0], [1, 1]]

    def test_numbers_of_bands_without_a_unit(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.nc", CUBE, ("y", "x", "band"))
        with h5py.File(path, "a") as file:
            file["band"][:] = [10, 11, 12]
            file["band"].attrs["units"] = "1"
        assert (facts(path).wavelengths, facts(path).notes) == ((), ())

    @pytest.mark.parametrize("place", ["data", "/"])
    def test_a_list_in_attributes_says_which_axis_is_the_spectrum(self, tmp_path: Path, place: str) -> None:
        path = write(tmp_path / "cube.h5", CUBE.transpose(2, 0, 1))
        with h5py.File(path, "a") as file:
            file[place].attrs["wavelength"] = [400.0, 500.0, 600.0]
        assert (read(path) == CUBE).all()
        assert facts(path).wavelengths == (400, 500, 600)

    @pytest.mark.parametrize("attribute", [True, False])
    def test_wavelengths_for_another_number_of_bands(self, tmp_path: Path, attribute: bool) -> None:
        path = write(tmp_path / "cube.h5", CUBE)
        with h5py.File(path, "a") as file:
            (file["data"].attrs if attribute else file)["wavelength"] = np.arange(400.0, 405)
        assert facts(path).notes == ("its 5 wavelengths are not for 3 bands, and are left out",)

    @pytest.mark.parametrize("name", ["crs", "/maps/crs", "../maps/crs", "top"])
    def test_a_grid_mapping_by_its_path(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / "cube.nc", CUBE, name="group/data", grid_mapping=name)
        with h5py.File(path, "a") as file:
            file[{"crs": "group/crs", "top": "top"}.get(name, "maps/crs")] = 0
            file[{"crs": "group/crs", "top": "top"}.get(name, "maps/crs")].attrs["crs_wkt"] = "EPSG:32633"
        place = facts(path).georeference
        assert place is not None
        assert place.crs == "EPSG:32633"

    def test_an_axis_of_time_is_no_spectrum(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.nc", CUBE.transpose(2, 0, 1), ("time", "y", "x"))
        with h5py.File(path, "a") as file:
            file["time"].attrs["units"] = "days since 2000-01-01"
        refused(path, "data has an axis of time; rows, columns, bands are expected")

    def test_lines_that_have_times_are_rows(self, tmp_path: Path) -> None:
        path = write(tmp_path / "cube.nc", CUBE, ("line", "x", "wavelength"))
        with h5py.File(path, "a") as file:
            file["line"].attrs["units"] = "seconds since 2000-01-01"
        assert (read(path) == CUBE).all()

    @pytest.mark.parametrize("place", ["HARV/Reflectance", "HARV/Reflectance/Reflectance_Data"])
    def test_bad_windows_of_neon(self, tmp_path: Path, place: str) -> None:
        with h5py.File(tmp_path / "neon.h5", "w") as file:
            room = file.create_group("HARV/Reflectance")
            room["Reflectance_Data"], room["Metadata/Spectral_Data/Wavelength"] = CUBE, [1300.0, 1400.0, 1900.0]
            windows = {"Band_Window_1_Nanometers": [1340, 1445], "Band_Window_2_Nanometers": [1790, 1955]}
            file[place].attrs.update(windows)
        assert facts(tmp_path / "neon.h5").good == (True, False, False)


def without_data(path: Path) -> np.ndarray:
    from hsiedge.scenes.io.reader import open_cube

    with open_cube(path) as cube:
        return cube.without_data(cube.read(0, cube.shape[0]), 0)
