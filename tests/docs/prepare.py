"""Files that pages of the manual speak of, written into the current folder: `python -m tests.docs.prepare NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np


def formats() -> None:
    """Two GeoTIFFs on grids 20 pixels apart, polygons that overlap in 9 pixels, and an ENVI cube with a scale."""
    import pyogrio
    import rasterio
    from rasterio.transform import from_origin
    from shapely import box
    from spectral.io import envi

    values = np.random.default_rng(0).integers(1000, 9000, (60, 60, 200), dtype=np.uint16)
    facts = {"driver": "GTiff", "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open("cube.tif", "w", count=200, height=60, width=60, transform=from_origin(0, 600, 10, 10), **facts) as file:
        file.write(values.transpose(2, 0, 1))
    with rasterio.open(
        "labels.tif", "w", count=1, height=40, width=40, transform=from_origin(200, 400, 10, 10), **facts
    ) as file:
        file.write(np.repeat(np.uint16([1, 2]), 800).reshape(1, 40, 40))
    first, second = box(50, 500, 120, 550), box(90, 520, 300, 550)
    fields = {"field_data": [np.array(["maize", "wheat"], object), np.array(["A", "B"], object)], "fields": ["crop", "owner"]}
    shapes = np.array([first.wkb, second.wkb], object)
    pyogrio.raw.write("fields.gpkg", shapes, **fields, geometry_type="Polygon", crs="EPSG:32633")
    scale = {"reflectance scale factor": 10000}
    envi.save_image("counts-with-a-scale.hdr", values[:20], dtype=np.uint16, interleave="bil", ext=".img", metadata=scale)


PAGES: dict[str, Callable[[], None]] = {"formats": formats}

if __name__ == "__main__":
    PAGES[sys.argv[1]]()
