import struct
from pathlib import Path

import numpy as np

from hsiedge.testing import check_reader

FILE = Path(__file__).with_name("erdas_lan_reader.py")


def write(path: Path, cube: np.ndarray) -> None:
    """Writes int16 or uint8 values `(rows, columns, bands)`."""
    rows, columns, bands = cube.shape
    packing = {"uint8": 0, "int16": 2}[cube.dtype.name]
    header = struct.pack("<6s H H 6x I I", b"HEAD74", packing, bands, columns, rows)
    path.write_bytes(header.ljust(128, b"\0") + cube.transpose(0, 2, 1).tobytes())


def test_cubes(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).integers(-300, 3000, (7, 5, 11), dtype=np.int16)
    write(tmp_path / "flight.lan", cube)
    check_reader(f"{FILE}:READER", tmp_path / "flight.lan", cube)


def test_label_maps(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 17, (7, 5, 1), dtype=np.uint8)
    write(tmp_path / "labels.gis", labels)
    check_reader(f"{FILE}:READER", tmp_path / "labels.gis", labels[:, :, 0])
