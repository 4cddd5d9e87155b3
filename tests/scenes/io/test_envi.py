"""ENVI files, as cameras, archives and people write them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import HsiedgeError
from hsiedge.scenes.io.reader import open_cube, read_labels
from tests.scenes.io.files import facts, read, refused, write_envi

CUBE = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 251
LABELS = np.array([[0, 1, 2, 2, 1, 0]] * 4, np.uint8)
HUGE = (1 << 20, 1 << 20, 1 << 10)  # 2 PiB of 16-bit counts


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", ">f4", "<f8", "|u1"])
def test_interleaves_and_byte_orders_agree(tmp_path: Path, interleave: str, dtype: str) -> None:
    cube = (CUBE // 251).astype(dtype)
    opened = facts(write_envi(tmp_path, cube, interleave))
    assert isinstance(opened.array, np.memmap)
    assert not opened.array.flags.writeable
    assert opened.array.dtype == np.dtype(dtype)
    assert (opened.array == cube).all()


def test_what_the_spectral_package_writes(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="spectral writes the file, and is not installed")

    envi.save_image(str(tmp_path / "a.hdr"), CUBE, interleave="bil", metadata={"wavelength": [400.5, 500, 600]})
    opened = facts(tmp_path / "a.hdr")
    assert (opened.array == CUBE).all()
    assert opened.wavelengths == (400.5, 500, 600)


def test_by_the_name_of_its_data(tmp_path: Path) -> None:
    header = write_envi(tmp_path, CUBE)
    assert (read(tmp_path / "flight.img") == CUBE).all()
    header.rename(tmp_path / "flight.img.hdr")
    assert (read(tmp_path / "flight.img") == CUBE).all()
    assert (read(tmp_path / "flight.img.hdr") == CUBE).all()
    (tmp_path / "flight.img.hdr").unlink()
    refused(tmp_path / "flight.img", "not a format that hsiedge reads")


def test_header_offset(tmp_path: Path) -> None:
    assert (read(write_envi(tmp_path, CUBE, offset=37)) == CUBE).all()
    refused(write_envi(tmp_path, CUBE, data=CUBE.tobytes(), **{"header offset": 37}), "truncated")


@pytest.mark.parametrize("name", ["Band ({} nm)", "{}", "{}.0"])
def test_wavelengths_in_the_names_of_the_bands(tmp_path: Path, name: str) -> None:
    """Where GDAL puts them that converts a file of another format."""
    names = ", ".join(name.format(value) for value in (700, 550, 400))
    assert facts(write_envi(tmp_path, CUBE, extra=f"band names = {{{names}}}")).wavelengths == (700, 550, 400)
    extra = f"band names = {{{names}}}\nwavelength = {{1, 2, 3}}"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == ()


@pytest.mark.parametrize("domain", ["", ' domain="IMAGERY"'])
def test_wavelengths_in_gdals_side_car(tmp_path: Path, domain: str) -> None:
    """Where GDAL puts what the tags of a GeoTIFF's bands said."""
    path = write_envi(tmp_path, CUBE)
    name = "CENTRAL_WAVELENGTH_UM" if domain else "wavelength"
    bands = "".join(
        f'<PAMRasterBand band="{band}"><Metadata{domain}><MDI key="{name}">{length}</MDI></Metadata></PAMRasterBand>'
        for band, length in enumerate((0.7, 0.55, 0.4), 1)
    )
    side_car = path.with_suffix(".img.aux.xml")
    side_car.write_text(f"<PAMDataset>{bands}</PAMDataset>")
    assert facts(path).wavelengths == pytest.approx((700, 550, 400))
    side_car.write_text("<PAMDataset>")
    refused(path, "not the tags of bands that GDAL writes")


def test_micrometres_become_nanometres(tmp_path: Path) -> None:
    extra = "wavelength units = Micrometers\nwavelength = {0.4,\n 0.55,\n 0.7}"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == pytest.approx((400, 550, 700))
    extra = "wavelength = {0.4, 0.55, 2.5}"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == pytest.approx((400, 550, 2500))
    extra = "wavelength units = Nanometers\nwavelength = {400, 550, 700}"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == (400, 550, 700)
    assert facts(write_envi(tmp_path, CUBE, extra="wavelength = {400, none, 700}")).wavelengths == ()
    assert facts(write_envi(tmp_path, CUBE)).wavelengths == ()


def test_what_it_says_beside(tmp_path: Path) -> None:
    extra = "data ignore value = -9999\ndata units = Reflectance * 10000\nmap info = {UTM, 1, 1, 3.5, 4.5, 30, 30, 33, North}"
    opened = facts(write_envi(tmp_path, CUBE.astype("<i2"), extra=extra))
    assert (opened.nodata, opened.units) == ((-9999,) * 3, "Reflectance * 10000")
    assert opened.georeference is not None
    assert opened.georeference.transform == (30, 0, 3.5, 0, -30, 4.5)
    assert opened.georeference.envi == {"map info": "UTM, 1, 1, 3.5, 4.5, 30, 30, 33, North"}
    assert facts(write_envi(tmp_path, CUBE)).nodata == ()


def test_capitals_in_the_header(tmp_path: Path) -> None:
    extra = "Wavelength Units = Nanometers\nWavelength = {400, 550, 700}\nSensor = made up"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == (400, 550, 700)


def test_a_classification_names_its_classes(tmp_path: Path) -> None:
    extra = "file type = ENVI Classification\nclasses = 3\nclass names = {Unclassified, Water, Trees}"
    opened = read_labels(write_envi(tmp_path, LABELS[..., None], "bsq", extra))
    assert (opened.array == LABELS).all()
    assert opened.class_names == {1: "Water", 2: "Trees"}


def test_truncated(tmp_path: Path) -> None:
    refused(write_envi(tmp_path, CUBE, data=CUBE.tobytes()[:-1]), "promises 144 bytes, it has 143; truncated")
    refused(write_envi(tmp_path, CUBE, data=b""), "truncated")


def test_declares_more_than_there_is(tmp_path: Path, little_memory: None) -> None:
    refused(write_envi(tmp_path, CUBE, lines=HUGE[0], samples=HUGE[1], bands=HUGE[2]), "promises")
    refused(write_envi(tmp_path, CUBE, lines=10**30), "promises")


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": -4},
        {"lines": 0},
        {"lines": "many"},
        {"bands": None},
        {"byte order": 7},
        {"byte order": "big"},
        {"file compression": 1},
        {"file type": "ENVI Spectral Library"},
        {"data gain values": "{1, 2}"},
        {"data gain values": "{1, 2, 3}", "reflectance scale factor": 10000},
        {"data type": 99},
        {"header offset": -50},
        {"header offset": "far"},
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, changes: dict[str, Any]) -> None:
    header = write_envi(tmp_path, CUBE, **changes)
    with pytest.raises(HsiedgeError, match="flight"):
        facts(header)


def test_unknown_interleave(tmp_path: Path) -> None:
    refused(write_envi(tmp_path, CUBE, extra="interleave = tiled"), "says interleave twice, and not the same")
    header = write_envi(tmp_path, CUBE)
    header.write_text(header.read_text().replace("= bip", "= tiled"))
    refused(header, "interleave 'tiled': bsq, bil or bip")
    for spelt in ("BIL", "Bil", '"bil"', "bil "):
        header = write_envi(tmp_path, CUBE, "bil")
        header.write_text(header.read_text().replace("= bil", f"= {spelt}"))
        assert (read(header) == CUBE).all()


def test_no_header_no_data(tmp_path: Path) -> None:
    header = write_envi(tmp_path, CUBE)
    (tmp_path / "flight.img").unlink()
    refused(header, "its data is not beside it")
    for content in (b"not a header", b"ENVI\nlines = {", b"\xff\xfe\x00ENVI", b"ENVI\n\xff\xfe = 3", b""):
        header.write_bytes(content)
        refused(header, "not an ENVI header|samples = nothing|lines = |the brace that lines opens")


def test_complex_is_refused(tmp_path: Path) -> None:
    refused(write_envi(tmp_path, CUBE.astype("<c8")), "data type = 6 is complex numbers, not counts")


@pytest.mark.parametrize(
    "text",
    [
        "{400, 500, 600,}",
        "{400 500\n 600}",
        "{400 nm, 500 nm, 600 nm}",
        "{ 0.4 , 0.5 , 0.6 }",
        "{0.4 um, 0.5 \u00b5m, 600nm}",
        "{4e2, 5.e2, 600.000}",
    ],
)
def test_wavelengths_as_people_write_them(tmp_path: Path, text: str) -> None:
    cube = facts(write_envi(tmp_path, CUBE, extra=f"wavelength = {text}\nfwhm = {{1, 1, 1,}}"))
    assert cube.wavelengths == pytest.approx((400, 500, 600))
    assert cube.notes == ()


def test_a_comment_behind_a_value(tmp_path: Path) -> None:
    extra = "wavelength units = Micrometers ; in air\nwavelength = {0.4, 0.5, 0.6}"
    assert facts(write_envi(tmp_path, CUBE, extra=extra)).wavelengths == pytest.approx((400, 500, 600))


def test_wavelengths_that_are_none_are_told(tmp_path: Path) -> None:
    numbered = facts(write_envi(tmp_path, CUBE, extra="wavelength = {1, 2, 3}\nwavelength units = Index"))
    assert (numbered.wavelengths, numbered.notes) == ((), ())
    unknown = facts(write_envi(tmp_path, CUBE, extra="wavelength = {1, 2, 3}\nwavelength units = Unknown"))
    assert (unknown.wavelengths, unknown.notes) == ((), ())
    words = facts(write_envi(tmp_path, CUBE, extra="wavelength = {blue, green, red}"))
    assert words.notes == ("its wavelengths are no lengths that can be told, and are left out",)
    refused(write_envi(tmp_path, CUBE, extra="wavelength = {1, 2, 3\nbbl = {1, 1, 1}"), "the brace that wavelength opens")


@pytest.mark.parametrize(
    ("text", "nodata"),
    [
        ("{-9999, -9999, 0}", (-9999, -9999, 0)),
        ("{-1}", (-1, -1, -1)),
        ("-1.0e+00 ; clouds", (-1, -1, -1)),
        ("none", ()),
        ("", ()),
    ],
)
def test_nodata_of_each_band(tmp_path: Path, text: str, nodata: tuple[float, ...]) -> None:
    assert facts(write_envi(tmp_path, CUBE, extra=f"data ignore value = {text}")).nodata == nodata


def test_nodata_that_is_none(tmp_path: Path) -> None:
    for text in ("{1, 2}", "clouds"):
        refused(
            write_envi(tmp_path, CUBE, extra=f"data ignore value = {text}"), "data ignore value = .*: a number was expected"
        )


def test_a_header_that_begins_with_an_empty_line(tmp_path: Path) -> None:
    header = write_envi(tmp_path, CUBE)
    header.write_text("\n\n" + header.read_text())
    assert (read(header) == CUBE).all()


def test_a_label_map_with_a_gain(tmp_path: Path) -> None:
    path = write_envi(tmp_path, LABELS[:, :, None], extra="data gain values = {10}")
    refused(path, "a label map with a scale of 10 and an offset of 0", ndim=2)


def test_a_scale_and_an_offset_of_two_calibrations(tmp_path: Path) -> None:
    mixed = "reflectance scale factor = 10000\ndata offset values = {5, 5, 5}"
    refused(write_envi(tmp_path, CUBE, extra=mixed), "two scales, reflectance scale factor and data offset values")
    pair = "data reflectance gain values = {2, 2, 2}\ndata reflectance offset values = {5, 5, 5}"
    assert facts(write_envi(tmp_path, CUBE, extra=pair)).offset == (5, 5, 5)


@pytest.mark.parametrize("scale", [None, 100])
def test_percent_is_a_scale(tmp_path: Path, scale: int | None) -> None:
    """A factor leads to reflectance of 0 to 1, whatever is stored."""
    factor = "" if scale is None else f"\nreflectance scale factor = {scale}"
    cube = facts(write_envi(tmp_path, CUBE, extra=f"data units = %{factor}"))
    assert (cube.scale, cube.units) == ((0.01,) * 3, "")


def test_dark_lines_at_the_end_are_named(tmp_path: Path) -> None:
    assert "its lines from 3 on are dark ones" in facts(write_envi(tmp_path, CUBE, extra="autodarkstartline = 3")).notes[0]
    assert facts(write_envi(tmp_path, CUBE, extra="autodarkstartline = 0")).notes == ()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_the_mask_that_gdal_keeps_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio writes the mask, and is not installed")
    for name, array in (("cube", CUBE), ("labels", LABELS[:, :, None])):
        write_envi(tmp_path, array)
        for part in (".hdr", ".img"):
            (tmp_path / f"flight{part}").rename(tmp_path / f"{name}{part}")
        with rasterio.open(tmp_path / f"{name}.img", "r+") as data:
            data.write_mask(np.repeat(np.array([0, 255, 255, 255], np.uint8)[:, None], 6, 1))
    with open_cube(tmp_path / "cube.hdr") as cube:
        assert cube.without_data(cube.read(0, 4), 0)[:, 0].tolist() == [True, False, False, False]
    assert read_labels(tmp_path / "labels.hdr").array[:2].tolist() == [[0] * 6, LABELS[1].tolist()]
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert "cube.img.msk, a mask, is left out" in facts(tmp_path / "cube.hdr").notes[0]
    monkeypatch.undo()
    (tmp_path / "labels.img.msk").rename(tmp_path / "cube.img.msk")
    with rasterio.open(tmp_path / "cube.img.msk", "w", driver="GTiff", width=3, height=3, count=1, dtype="uint8") as mask:
        mask.write(np.zeros((1, 3, 3), np.uint8))
    assert facts(tmp_path / "cube.hdr").notes == ("cube.img.msk is no mask of 4 x 6 pixels, and is left out",)
