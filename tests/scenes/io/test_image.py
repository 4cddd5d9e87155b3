"""Pictures as label maps, written by Pillow and by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="Pillow writes pictures, and is not installed")
pytest.importorskip("rasterio", reason="rasterio reads pictures, and is not installed")

from hsiedge.scenes.io.reader import read_labels  # noqa: E402
from tests.scenes.io.files import refused  # noqa: E402

IDS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 3, 3]], np.uint8)


def palette(path: Path, ids: np.ndarray = IDS, **options: object) -> Path:
    """Colours in no order, two of them alike: only the indices tell the classes."""
    picture = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    picture.putpalette([200, 0, 0, 10, 10, 10, 10, 10, 10, 0, 255, 0] + [7] * 756)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".gif"])
def test_ids_of_a_palette_are_its_indices(tmp_path: Path, suffix: str) -> None:
    assert (read_labels(palette(tmp_path / f"labels{suffix}")).array == IDS).all()


def grey_png(path: Path, ids: np.ndarray, bits: int) -> Path:
    """A grey PNG of some bits a pixel, by the PNG specification, which Pillow cannot write."""
    rows = b""
    for row in ids:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_ids_of_a_grey_picture_are_its_values(tmp_path: Path, bits: int) -> None:
    ids = IDS % 2 if bits == 1 else IDS.astype(np.uint16) * (1 if bits == 2 else 5 if bits == 4 else 80 if bits == 8 else 9000)
    assert (read_labels(grey_png(tmp_path / "labels.png", ids, bits)).array == ids).all()


def test_a_picture_in_colour_is_refused(tmp_path: Path) -> None:
    for name, bands in (("rgb.png", 3), ("rgba.png", 4), ("rgb.bmp", 3)):
        Image.fromarray(np.stack([IDS] * bands, -1)).save(tmp_path / name)
        refused(tmp_path / name, "an RGB picture, whose colours are no ids", ndim=2)


def test_what_is_transparent_has_no_label(tmp_path: Path) -> None:
    alpha = np.where(IDS == 3, 0, 255).astype(np.uint8)
    Image.fromarray(np.stack([IDS, alpha], -1), "LA").save(tmp_path / "labels.png")
    assert (read_labels(tmp_path / "labels.png").array == np.where(IDS == 3, 0, IDS)).all()


def test_a_world_file_places_it(tmp_path: Path) -> None:
    path = palette(tmp_path / "labels.png")
    (tmp_path / "labels.pgw").write_text("30\n0\n0\n-30\n500015\n5799985\n")
    place = read_labels(path).georeference
    assert place is not None
    assert place.transform == (30, 0, 500000, 0, -30, 5800000)


def test_truncated_and_misnamed(tmp_path: Path) -> None:
    path = palette(tmp_path / "labels.png", np.tile(IDS, (40, 40)))
    content = path.read_bytes()
    for length in (0, 20, 60, *range(800, len(content), 50), len(content) - 1):  # GDAL fills the rows that are cut off
        path.write_bytes(content[:length])
        refused(path, "not a whole PNG|cannot be read", ndim=2)
    damaged = bytearray(content)
    damaged[-20] ^= 1
    path.write_bytes(damaged)
    refused(path, "not a whole PNG", ndim=2)
    (tmp_path / "x.png").write_text("<VRTDataset rasterXSize='4' rasterYSize='3'></VRTDataset>")
    refused(tmp_path / "x.png", "not a whole PNG", ndim=2)
