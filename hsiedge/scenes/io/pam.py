"""Names of the classes of a raster, from the side-car that GDAL keeps them in (PAM: FILE.aux.xml; `CategoryNames`).

rasterio does not tell them, so the side-car is read here: as a stream, believing nothing, never followed anywhere.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from hsiedge.errors import SceneError
from hsiedge.scenes.io.checks import parse_xml

SUFFIX = ".aux.xml"
"""What is appended to a raster's name to name its side-car."""

_LARGEST = 16 << 20  # bytes; statistics and attribute tables may stand beside the names
_MOST = 1 << 16  # names: label ids end at 65535
_WHERE = ["PAMDataset", "PAMRasterBand", "CategoryNames", "Category"]


def category_names(path: Path) -> dict[int, str]:
    """Value -> name, of the first band of the raster `path`; empty where it has no side-car, or that names nothing.

    Value 0 is left out, and so are values without a name.

    Raises:
        SceneError: a side-car that is no XML, declares a document type (entities), or is too large.
    """
    side_car = path.with_name(path.name + SUFFIX)
    if not side_car.is_file():
        return {}
    try:
        names: list[str] = parse_xml(side_car, _Categories(), _LARGEST)
    except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:
        raise SceneError(f"{side_car}: not the names of classes that GDAL writes ({error}); mend it or move it away") from error
    return {value: name for value, name in enumerate(names) if value and name}


class _Categories:
    """Target of the XML parser, which keeps the names of the first band."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._names: list[str] = []
        self._first = False

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Comes before any entity is declared, so that none is ever expanded."""
        raise ValueError("it declares a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if tag == "PAMRasterBand":
            self._first = attributes.get("band") == "1"
        if self._here():
            self._names.append("")
            if len(self._names) > _MOST:
                raise ValueError(f"more than {_MOST} names")

    def data(self, text: str) -> None:
        if self._here():
            self._names[-1] += text

    def end(self, tag: str) -> None:
        self._path.pop()

    def close(self) -> list[str]:
        return [" ".join(name.split()) for name in self._names]

    def _here(self) -> bool:
        return self._first and self._path == _WHERE
