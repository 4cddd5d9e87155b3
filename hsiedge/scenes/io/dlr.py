"""Products of DLR, EnMAP and DESIS: a GeoTIFF of integers, and what they mean in the METADATA.XML beside it.

    ENMAP01-____L2A-DT...-SPECTRAL_IMAGE.TIF    ENMAP01-____L2A-DT...-METADATA.XML
    DESIS-HSI-L2A-DT...-SPECTRAL_IMAGE.tif      DESIS-HSI-L2A-DT...-METADATA.xml

Below `bandCharacterisation` stand, band by band, centre and width in nm, gain and offset: value = stored * gain + offset
(EnMAP, HSI Product Specification EN-PCV-ICD-2009; DESIS, Product Specification PAV-DLR-TN-001). Level 2A is reflectance, 1B and
1C radiance.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from hsiedge.errors import SceneError
from hsiedge.scenes.io.checks import parse_xml
from hsiedge.scenes.io.cube import Cube, number

_NAME = re.compile(r"((?:ENMAP|DESIS).*[_-](L1B|L1C|L2A)[_-].*-)SPECTRAL_IMAGE(?:_COG|_VNIR|_SWIR)?\.tiff?", re.I)
_LARGEST = 64 << 20  # bytes; that of DESIS holds the spectral response of each band
_TAGS = ("wavelengthcenterofband", "fwhmofband|wavelengthwidthofband", "gainofband", "offsetofband")


def described(cube: Cube) -> Cube:
    """The cube, with what the metadata beside it say; as it is, where its name is not that of a product.

    Raises:
        SceneError: metadata that are no XML, declare a document type, are too large, or lack a number.
    """
    match = _NAME.fullmatch(cube.path.name)
    if match is None:
        return cube
    beside = next((path for path in _candidates(cube.path, match[1]) if path.is_file()), None)
    if beside is None:
        return _noted(cube, f"named as a product of DLR, but {match[1]}METADATA.XML is not beside it: its bands are unknown")
    root, cube = _parsed(beside), cube.checked()
    bands = list(root.iterfind("specific/bandcharacterisation/*"))
    if len(bands) != cube.bands:
        return _noted(cube, f"{beside.name} tells of {len(bands)} bands, not of its {cube.bands}, and is left out")
    centres, widths, gains, offsets = ([_number(beside, band, tag) for band in bands] for tag in _TAGS)
    if cube.scale is not None and tuple(gains) != cube.scale:
        raise SceneError(f"{cube.path}: two scales, its own and that of {beside.name}: leave one of them in")
    background = number(root.findtext("specific/backgroundvalue"))
    return replace(
        cube,
        scale=tuple(gains),
        offset=tuple(offsets),
        nodata=cube.nodata or (background,) * cube.bands,
        good=cube.good or _expected(root, cube.bands),
        wavelengths=cube.wavelengths or tuple(centres),
        widths=cube.widths or tuple(widths),
        quantity="reflectance" if match[2].upper() == "L2A" else "radiance",
    )


def _noted(cube: Cube, note: str) -> Cube:
    return replace(cube, notes=(*cube.notes, note))


def _candidates(path: Path, stem: str) -> list[Path]:
    return [path.with_name(f"{stem}METADATA{suffix}") for suffix in (".XML", ".xml")]


def _number(path: Path, band: ElementTree.Element, tags: str) -> float:
    value = next((number(band.findtext(tag)) for tag in tags.split("|") if band.find(tag) is not None), None)
    if value is None or not math.isfinite(value):
        raise SceneError(f"{path}: a band has no {tags.split('|')[0]}")
    return value


def _expected(root: ElementTree.Element, bands: int) -> tuple[bool, ...]:
    """Bands that a product of EnMAP holds, by their numbers from 1; the others hold nodata. Empty where it has no lists."""
    texts = [root.findtext(f"specific/{detector}productquality/expectedchannelslist") or "" for detector in ("vnir", "swir")]
    listed = {int(part) for text in texts for part in re.findall(r"\d{1,6}", text)}
    return tuple(band in listed for band in range(1, bands + 1)) if listed else ()


class _Tree(ElementTree.TreeBuilder):
    """Elements by their names in lower case, without name spaces."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Comes before any entity is declared, so that none is ever expanded."""
        raise ValueError("it declares a document type")

    def start(self, tag: str, attributes: dict[str, str], /) -> ElementTree.Element:
        return super().start(tag.rpartition("}")[2].lower(), attributes)

    def end(self, tag: str, /) -> ElementTree.Element:
        return super().end(tag.rpartition("}")[2].lower())


def _parsed(path: Path) -> ElementTree.Element:
    try:
        root: ElementTree.Element = parse_xml(path, _Tree(), _LARGEST)
    except (ElementTree.ParseError, LookupError, ValueError, OSError) as error:
        raise SceneError(f"{path}: not the metadata of a product ({error})") from error
    return root
