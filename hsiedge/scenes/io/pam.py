"""Names of the classes of a raster, and tags of its bands, from the side-car that GDAL keeps them in (PAM: FILE.aux.xml).

rasterio does not tell the names (`CategoryNames`), and ENVI files are read without it, so the side-car is read here: as a
stream, believing nothing, never followed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hsiedge.errors import SceneError
from hsiedge.scenes.io.checks import parse_xml
from hsiedge.scenes.io.cube import nm_of_text

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


def band_tags(path: Path, bands: int) -> list[dict[str, str]]:
    """Tags of each band of the raster `path`, keys in lower case, those of GDAL's IMAGERY domain as "imagery:key".

    They are empty where it has no side-car.

    Raises:
        SceneError: a side-car that is no XML, declares a document type (entities), or is too large.
    """
    side_car = path.with_name(path.name + SUFFIX)
    if not side_car.is_file():
        return [{} for _ in range(bands)]
    try:
        tags: dict[int, dict[str, str]] = parse_xml(side_car, _Tags(), _LARGEST)
    except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:
        raise SceneError(f"{side_car}: not the tags of bands that GDAL writes ({error}); mend it or move it away") from error
    return [tags.get(band, {}) for band in range(1, bands + 1)]


def tagged_wavelengths(tags: Sequence[Mapping[str, str]], unit: str = "") -> tuple[list[Any], str]:
    """Wavelengths as the tags of all bands hold them, and their unit, `unit` where they name none; else nothing."""
    for name, length in _IMAGERY.items():
        values = [entry.get(f"imagery:{name}", entry.get(name)) for entry in tags]
        if None not in values:
            return list(values), length
    values = [next((entry[name] for name in WAVELENGTHS if name in entry), None) for entry in tags]
    if None in values:
        return [], ""
    units = {entry.get("wavelength_units", entry.get("wavelength_unit", "")) for entry in tags}
    named = [nm_of_text(str(value)) for value in values]
    if None not in named:
        return list(named), "nm"
    return list(values), (units.pop() if len(units) == 1 else "several") or unit


_IMAGERY = {"central_wavelength_um": "um", "central_wavelength_nm": "nm"}
WAVELENGTHS = ("wavelength", "wavelengths", "center_wavelength", "central_wavelength")
"""Tags, in lower case, that hold a band's wavelength."""


class _Tags:
    """Target of the XML parser, which keeps the metadata of each band."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._tags: dict[int, dict[str, str]] = {}
        self._band, self._key = 0, ""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Comes before any entity is declared, so that none is ever expanded."""
        raise ValueError("it declares a document type")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if self._path == _WHERE[:2]:
            self._band = int(attributes.get("band", "0"))
        elif self._path == [*_WHERE[:2], "Metadata"]:
            self._domain = attributes.get("domain", "").lower()
        elif self._path == [*_WHERE[:2], "Metadata", "MDI"] and self._domain in ("", "imagery"):
            self._key = f"{self._domain}:{attributes.get('key', '').lower()}".lstrip(":")

    def data(self, text: str) -> None:
        """Takes text, which comes in pieces."""
        if self._key:
            band = self._tags.setdefault(self._band, {})
            band[self._key] = band.get(self._key, "") + text

    def end(self, tag: str) -> None:
        self._path.pop()
        self._key = ""

    def close(self) -> dict[int, dict[str, str]]:
        """Number of a band -> its tags."""
        return self._tags


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
