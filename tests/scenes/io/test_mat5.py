"""What scipy reads of a .mat file was checked first: sound files pass, and no changed byte crashes the process."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import SceneError
from hsiedge.scenes.io.mat5 import check_mat5

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes .mat v5, and is not installed")
sparse = pytest.importorskip("scipy.sparse")

CUBE = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)
TAG = 184  # of CUBE's numbers, in a file of it alone that is not packed: behind header, flags, dimensions and name


def write(path: Path, packed: bool = False, **variables: Any) -> Path:
    scipy_io.savemat(path, variables, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        *(CUBE.astype(dtype) for dtype in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")),
        np.array([[7]], np.uint8),  # so short that it stands in its tag
        np.zeros((0, 3)),
        CUBE * 1j,
        CUBE > 3,
        sparse.csc_matrix(np.eye(5)[:, :3]),
        sparse.csc_matrix((4, 3)),
        sparse.csc_matrix(np.eye(3) * 1j),
        "text",
        {"made": "in MATLAB", "inner": {"cell": np.array([1, "two"], object)}},
        np.array([[CUBE, "two"]], object),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_sound_files_pass(tmp_path: Path, value: Any, packed: bool) -> None:
    check_mat5(write(tmp_path / "x.mat", packed, first=value, cube=CUBE))


def test_other_byte_orders_and_files_of_version_4_pass(tmp_path: Path) -> None:
    """All before the numbers are words of 4 bytes, but for the name."""
    swapped = bytearray(write(tmp_path / "x.mat", cube=CUBE.astype("u1")).read_bytes())
    for at in [*range(128, 180, 4), TAG, TAG + 4]:
        swapped[at : at + 4] = swapped[at : at + 4][::-1]
    (tmp_path / "big.mat").write_bytes(bytes(swapped[:124]) + b"\1\0MI" + bytes(swapped[128:]))
    scipy_io.savemat(tmp_path / "v4.mat", {"labels": CUBE[:, :, 0]}, format="4")
    check_mat5(tmp_path / "v4.mat")
    assert np.array_equal(scipy_io.loadmat(tmp_path / "big.mat")["cube"], CUBE)
    check_mat5(tmp_path / "big.mat")


@pytest.mark.parametrize("kind", [0x55, 0x7F, 0xC0, 0xFF])
def test_a_type_beyond_scipys_table(tmp_path: Path, kind: int) -> None:
    """scipy looks it up where its table has ended: most of these kill the process."""
    data = bytearray(write(tmp_path / "x.mat", cube=CUBE).read_bytes())
    assert data[TAG] == 4
    data[TAG + 1] = kind
    (tmp_path / "x.mat").write_bytes(data)
    with pytest.raises(SceneError, match=rf"x.mat: cannot be read \(.* of type {kind << 8 | 4} for 120 numbers"):
        check_mat5(tmp_path / "x.mat")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [[0, 1, 9], [0, -1, 2]])
def test_sparse_matrices_with_numbers_outside(tmp_path: Path, rows: list[int], packed: bool) -> None:
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[:] = rows
    write(tmp_path / "x.mat", packed, labels=matrix)
    with pytest.raises(SceneError, match="numbers outside of it"):
        check_mat5(tmp_path / "x.mat")


def test_a_matrix_that_would_unpack_to_more_than_it_can(tmp_path: Path) -> None:
    data = write(tmp_path / "x.mat", cube=CUBE).read_bytes()
    inner = zlib.compress(data[128:132] + (1 << 31).to_bytes(4, "little") + data[136:])
    (tmp_path / "x.mat").write_bytes(data[:128] + (15).to_bytes(4, "little") + len(inner).to_bytes(4, "little") + inner)
    with pytest.raises(SceneError, match=r"would unpack from .* to 2147483648 bytes"):
        check_mat5(tmp_path / "x.mat")


_READ_ALL = """
import sys, warnings
from pathlib import Path
from hsiedge.errors import SceneError
from tests.scenes.io.files import read

warnings.simplefilter("ignore")
sound, changed = bytearray(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
for at in range(124, len(sound) if sys.argv[3] == "packed" else int(sys.argv[3])):
    for value in (0x55, 0xC0, 0xFF, sound[at] ^ 1):
        data = sound.copy()
        data[at] = value
        changed.write_bytes(data)
        try:
            read(changed, "cube")
        except SceneError as error:
            assert "\\n" not in str(error)
print("read them all")
"""


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_no_changed_byte_ends_the_process(tmp_path: Path, packed: bool) -> None:
    """Every byte of tags and headers, four values each, read in a child: a crash of scipy would be seen here."""
    file = write(tmp_path / "x.mat", packed, other=sparse.csc_matrix(np.eye(3)), cube=CUBE[:2, :2])
    until = "packed" if packed else str(file.stat().st_size)
    child = [sys.executable, "-c", _READ_ALL, str(file), str(tmp_path / "changed.mat"), until]
    ended = subprocess.run(child, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "read them all\n"), ended.stderr[-500:]
