"""Pictures as label maps: PNG, BMP and GIF, grey or with a palette. Needs rasterio, the extra `[geo]`."""

from __future__ import annotations

import zlib
from pathlib import Path

from hsiedge.errors import SceneError
from hsiedge.scenes.io.geotiff import labels_of, opened
from hsiedge.scenes.io.reader import LabelRaster, Reader

_DRIVERS = {".png": "PNG", ".bmp": "BMP", ".gif": "GIF"}


class Image(Reader):
    """Reader of pictures that are label maps: ids are grey values, or indices of the palette; a world file places them."""

    title, suffixes = "picture", tuple(_DRIVERS)

    def labels(self, path: Path, key: str | None = None) -> LabelRaster:
        """Reads a label map. Raises SceneError, for pictures in colour too; MissingExtraError without rasterio."""
        if path.suffix.lower() == ".png":
            _check_png(path)
        with opened(path, _DRIVERS[path.suffix.lower()]) as data:
            if data.count > 2:
                raise SceneError(
                    f"{path}: an RGB picture, whose colours are no ids of classes; save it in grey, or with a palette"
                )
            return labels_of(path, data)


def _check_png(path: Path) -> None:
    """Raises SceneError where a PNG's chunks do not reach their end or fail their checksum: GDAL fills the rows that lack."""
    kind = b""
    with path.open("rb") as file:
        file.seek(8)
        while kind != b"IEND":
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            data, checksum = file.read(min(length, path.stat().st_size)), file.read(4)
            if len(checksum) < 4 or zlib.crc32(kind + data) != int.from_bytes(checksum, "big"):
                raise SceneError(f"{path}: not a whole PNG")


READER = Image()
