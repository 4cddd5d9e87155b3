"""Cubes written to files as cameras and archives write them, and where the stored models that map them lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

STORED = Path(__file__).parents[1] / "benchmark" / "data"


def envi(folder: Path, cube: np.ndarray, interleave: str = "bil", **header: Any) -> Path:
    """An ENVI file as a camera's software writes it."""
    order = {"bil": (0, 2, 1), "bip": (0, 1, 2), "bsq": (2, 0, 1)}[interleave]
    codes = {"uint8": 1, "int16": 2, "float32": 4, "float64": 5, "uint16": 12}
    (folder / "cube.raw").write_bytes(np.ascontiguousarray(cube.transpose(order)).tobytes())
    entries = {"lines": cube.shape[0], "samples": cube.shape[1], "bands": cube.shape[2], "interleave": interleave}
    entries |= {"data type": codes[cube.dtype.name], "byte order": 0, "header offset": 0}
    entries |= {name.replace("_", " "): value for name, value in header.items()}
    text = "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
    (folder / "cube.hdr").write_text(text)
    return folder / "cube.hdr"


def hdf(folder: Path, cube: np.ndarray, **attributes: Any) -> Path:
    """A NetCDF-4 file like EMIT's."""
    h5py = pytest.importorskip("h5py", reason="h5py writes HDF5, and is not installed")
    with h5py.File(folder / "cube.nc", "w") as file:
        data = file.create_dataset("reflectance", data=cube, chunks=(1, *cube.shape[1:]))
        data.attrs.update(attributes)
        file.create_group("location")["lat"] = np.zeros(cube.shape[:2])
    return folder / "cube.nc"


def geotiff(folder: Path, cube: np.ndarray, wavelengths: Any = (), bbl: Any = (), **profile: Any) -> Path:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes GeoTIFF, and is not installed")
    geometry = {"height": cube.shape[0], "width": cube.shape[1], "count": cube.shape[2], "dtype": cube.dtype.name}
    where = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 380000, 0, -30, 5810000)}
    with rasterio.open(folder / "cube.tif", "w", driver="GTiff", **geometry, **where, **profile) as data:
        data.write(cube.transpose(2, 0, 1))
        for band, nanometres in enumerate(wavelengths, 1):
            data.update_tags(band, wavelength=str(nanometres), wavelength_units="Nanometers")
        for band, good in enumerate(bbl, 1):
            data.update_tags(band, bbl=str(good))
    return folder / "cube.tif"
