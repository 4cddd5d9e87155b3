"""Products of EnMAP and DESIS, rebuilt in the small: a GeoTIFF and its METADATA.XML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="rasterio writes and reads GeoTIFF, and is not installed")

from hsiedge.errors import SceneError  # noqa: E402
from hsiedge.scenes.io.cube import SceneWarning  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from tests.scenes.io.files import facts  # noqa: E402

ENMAP, DESIS = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z-", "DESIS-HSI-L2A-DT0483531728_009-"
CENTRES, WIDTHS = (418.42, 423.87, 902.2, 2445.3), (6.99, 7.1, 11.0, 7.1)
COUNTS = np.arange(1, 5 * 6 * 4 + 1, dtype=np.int16).reshape(4, 5, 6)


def enmap(gain: float = 0.0001, extra: str = "", space: str = "") -> str:
    bands = "".join(
        f'<bandID number="{place}"><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand><FWHMOfBand>{width}</FWHMOfBand>'
        f"<GainOfBand>{gain}</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>"
        for place, (centre, width) in enumerate(zip(CENTRES, WIDTHS), 1)
    )
    specific = f"<specific><bandCharacterisation>{bands}</bandCharacterisation>{extra}</specific>"
    return f'<?xml version="1.0" encoding="UTF-8"?><level_X{space}><base/>{specific}</level_X>'


def desis(level: str = "L2A") -> str:
    bands = "".join(
        f"<band><bandNumber>{place}</bandNumber><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand>"
        f"<wavelengthWidthOfBand>{width}</wavelengthWidthOfBand><response>0.1, 0.2</response>"
        f"<gainOfBand>{0.001 * place}</gainOfBand><offsetOfBand>{-0.1 * place}</offsetOfBand></band>"
        for place, (centre, width) in enumerate(zip(CENTRES, WIDTHS), 1)
    )
    orientation = "<interiorOrientation><band><bandNumber>1</bandNumber></band></interiorOrientation>"
    return f"<hsi_doc><specific><bandCharacterisation>{bands}</bandCharacterisation>{orientation}</specific></hsi_doc>"


def product(folder: Path, stem: str, metadata: str | None, suffix: str = "SPECTRAL_IMAGE.TIF", **options: object) -> Path:
    path = folder / f"{stem}{suffix}"
    shape = {"count": 4, "height": 5, "width": 6, "dtype": "int16", "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 6e6)}
    counts = options.pop("counts", COUNTS)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", **shape, **options) as data:
        data.write(counts)
    if metadata is not None:
        (folder / f"{stem}METADATA{'.XML' if stem.startswith('ENMAP') else '.xml'}").write_text(metadata)
    return path


@pytest.mark.parametrize("suffix", ["SPECTRAL_IMAGE.TIF", "SPECTRAL_IMAGE_COG.tiff"])
@pytest.mark.parametrize("space", ["", ' xmlns="http://example.org/enmap"'])
def test_enmap(tmp_path: Path, suffix: str, space: str) -> None:
    cube = facts(product(tmp_path, ENMAP, enmap(space=space), suffix, nodata=-32768))
    assert (cube.wavelengths, cube.widths) == (CENTRES, WIDTHS)
    assert (cube.scale, cube.offset) == ((0.0001,) * 4, (0.0,) * 4)
    assert (cube.quantity, cube.nodata, cube.notes) == ("reflectance", (-32768.0,) * 4, ())


def test_bands_that_the_product_lacks_are_bad(tmp_path: Path) -> None:
    lists = "".join(
        f"<{detector}ProductQuality><expectedChannelsList>{numbers}</expectedChannelsList></{detector}ProductQuality>"
        for detector, numbers in (("vnir", "1,2"), ("swir", "4"))
    )
    counts = COUNTS.copy()
    counts[2] = -32768
    extra = f"{lists}<backgroundValue>-32768</backgroundValue>"
    scene = open_scene(product(tmp_path, ENMAP, enmap(extra=extra), counts=counts))
    assert (scene.left_out, scene.wavelengths) == ((2,), (418.42, 423.87, 2445.3))
    assert (scene.nodata, scene.empty.any()) == (-32768, False)


@pytest.mark.parametrize(("level", "quantity"), [("L1B", "radiance"), ("L1C", "radiance"), ("L2A", "reflectance")])
def test_desis(tmp_path: Path, level: str, quantity: str) -> None:
    cube = facts(product(tmp_path, DESIS.replace("L2A", level), desis(), "SPECTRAL_IMAGE.tif"))
    assert (cube.wavelengths, cube.widths, cube.quantity) == (CENTRES, WIDTHS, quantity)
    assert cube.scale == pytest.approx((0.001, 0.002, 0.003, 0.004))
    assert cube.offset == pytest.approx((-0.1, -0.2, -0.3, -0.4))


def test_metadata_that_lack_or_do_not_fit(tmp_path: Path) -> None:
    path = product(tmp_path, ENMAP, None)
    with pytest.warns(SceneWarning, match=r"METADATA\.XML is not beside it: its bands are unknown"):
        assert open_scene(path).wavelengths == ()
    product(tmp_path, ENMAP, "<level_X/>")
    with pytest.warns(SceneWarning, match="tells of 0 bands, not of its 4, and is left out"):
        assert open_scene(path).scale is None


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("<level_X>", "not the metadata of a product"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa">]><level_X>&a;</level_X>', "it declares a document type"),
        (enmap().replace("0.0001", "many"), "a band has no gainofband"),
        (enmap().replace("418.42", "nan"), "a band has no wavelengthcenterofband"),
    ],
)
def test_metadata_that_are_none(tmp_path: Path, metadata: str, message: str) -> None:
    path = product(tmp_path, ENMAP, metadata)
    with pytest.raises(SceneError, match=message) as caught:
        facts(path)
    assert "\n" not in str(caught.value)


def test_two_scales(tmp_path: Path) -> None:
    path = product(tmp_path, ENMAP, enmap())
    with rasterio.open(path, "r+") as data:
        data.scales = (0.5,) * 4
    with pytest.raises(SceneError, match="two scales, its own and that of ENMAP"):
        facts(path)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "flight-METADATA.XML").write_text("no XML")
    cube = facts(product(tmp_path, "flight-", None))
    assert (cube.scale, cube.notes) == (None, ())


def test_a_product_as_a_folder(tmp_path: Path) -> None:
    product(tmp_path, ENMAP, enmap(), nodata=-32768)
    scene = open_scene(tmp_path)
    assert (scene.wavelengths, scene.scale, scene.quantity) == (CENTRES, (0.0001,) * 4, "reflectance")


def test_one_detector_of_level_1b(tmp_path: Path) -> None:
    path = product(
        tmp_path, ENMAP.replace("L2A", "L1B"), enmap().replace("<bandID", "<bandID/><bandID", 1), "SPECTRAL_IMAGE_VNIR.TIF"
    )
    assert "tells of 5 bands, not of its 4, and is left out" in facts(path).notes[0]
