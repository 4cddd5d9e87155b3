"""Files that promise more than they hold, or lead in circles, end in one line and take little memory."""

from __future__ import annotations

import io
import os
import signal
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.archive import open_zip
from hsiedge.errors import SceneError
from hsiedge.scenes.io import checks
from hsiedge.scenes.io.reader import open_cube
from tests.scenes.io.files import read

CUBE = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)
LARGE = 100 << 20  # bytes that a member unpacks to, of some 100 kB


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails where the block takes more than 32 MiB."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def write_zip(path: Path, name: str, method: int, *parts: bytes) -> None:
    with zipfile.ZipFile(path, "w", method) as archive, archive.open(name, "w") as member:
        for part in parts:
            member.write(part)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_packed_otherwise_than_by_deflate(tmp_path: Path, method: int) -> None:
    write_zip(tmp_path / "x.npz", "cube.npy", method, npy(CUBE), *[bytes(1 << 20)] * (LARGE >> 20))
    with little_memory(), pytest.raises(SceneError, match=r"'cube.npy' is packed otherwise than by deflate"):
        read(tmp_path / "x.npz")


def test_a_header_as_long_as_a_file(tmp_path: Path) -> None:
    head = b"\x93NUMPY\2\0" + struct.pack("<I", LARGE)
    write_zip(tmp_path / "x.npz", "cube.npy", zipfile.ZIP_DEFLATED, head, *[b" " * (1 << 20)] * (LARGE >> 20))
    with little_memory(), pytest.raises(SceneError, match=r"its .npy header is 104857600 bytes long"):
        read(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(head + b" " * (1 << 20))
    with little_memory(), pytest.raises(SceneError, match=r"its .npy header is 104857600 bytes long"):
        read(tmp_path / "x.npy")


def test_a_list_of_members_longer_than_any(tmp_path: Path) -> None:
    """Its entries would take twenty times as much in memory as in the file."""
    write_zip(tmp_path / "x.npz", "cube.npy", zipfile.ZIP_STORED, npy(CUBE))
    data = (tmp_path / "x.npz").read_bytes()
    start, end = data.rfind(b"PK\1\2"), data.rfind(b"PK\5\6")
    entry = data[start:end]
    count = (9 << 20) // len(entry)
    tail = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, count * len(entry), start, 0)
    (tmp_path / "x.npz").write_bytes(data[:start] + entry * count + tail)
    with little_memory(), pytest.raises(zipfile.BadZipFile, match="more than 8 MiB"), open_zip(tmp_path / "x.npz"):
        pass


def test_a_member_that_says_more_than_its_stream_can_hold(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.npz", "cube.npy", zipfile.ZIP_DEFLATED, npy(CUBE))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\1\2") + 24, 1 << 30)
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(zipfile.BadZipFile, match="unpacks to 1073741824 bytes, which it cannot"), open_zip(tmp_path / "x.npz"):
        pass


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "<f4", ">f8"])
def test_read_npy_is_numpys(tmp_path: Path, order: Any, dtype: str) -> None:
    array = np.asarray(CUBE.astype(dtype), order=order)
    read = checks.read_npy(io.BytesIO(npy(array)))
    assert read.dtype == np.load(io.BytesIO(npy(array))).dtype
    assert np.array_equal(read, array)
    for cut in (5, 9, 60, len(npy(array)) - 1):
        with pytest.raises(ValueError, match="cut short"):
            checks.read_npy(io.BytesIO(npy(array)[:cut]))


def test_read_npy_takes_no_objects() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="not numbers"):
        checks.read_npy(io.BytesIO(file.getvalue()))


# HDF5


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py", reason="h5py writes HDF5, and is not installed")


def test_groups_that_lead_in_circles(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        groups = [file.create_group(f"group{index}") for index in range(10)]
        for group in groups:
            for index, other in enumerate(groups):
                group[f"link{index}"] = other
        groups[3]["cube"] = CUBE
    with open_cube(tmp_path / "x.h5") as source:
        assert np.array_equal(source.read(0, 6), CUBE)


def test_more_objects_than_any_cube_has(tmp_path: Path, h5py: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_MOST_OBJECTS", 100)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for index in range(101):
            file.create_group(f"{index}")
    with pytest.raises(SceneError, match="it holds more than 100 objects"), open_cube(tmp_path / "x.h5"):
        pass


@pytest.mark.parametrize("fill", ["none", np.zeros(0), b"\xff", np.array(["a"], "S1")])
def test_fill_values_that_are_no_numbers(tmp_path: Path, h5py: Any, fill: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = CUBE
        file["cube"].attrs["_FillValue"] = fill
        file["wavelengths"] = np.array([b"blue"] * 4)
    with open_cube(tmp_path / "x.h5") as source:
        assert (source.nodata, source.wavelengths) == ((), ())


def test_a_dataset_packed_twice(tmp_path: Path, h5py: Any) -> None:
    """Two deflate filters unpack by 1032 * 1032."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((6, 5, 4))
        plan.set_deflate(9)
        plan.set_deflate(9)
        h5py.h5d.create(file.id, b"cube", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple((6, 5, 4)), plan)
    with pytest.raises(SceneError, match="packed twice by one filter"), open_cube(tmp_path / "x.h5"):
        pass


def test_a_chunk_larger_than_the_memory(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("cube", (1 << 15, 1 << 15, 4), "u1", chunks=(1 << 15, 1 << 15, 3), maxshape=(None, None, None))
    with pytest.MonkeyPatch.context() as patch:
        psutil = pytest.importorskip("psutil")
        patch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 30}))
        with pytest.raises(SceneError, match="needs 3072 MiB, 1024 MiB are free"), open_cube(tmp_path / "x.h5"):
            pass


def test_a_damaged_chunk_is_one_line(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("cube", data=CUBE, chunks=CUBE.shape, compression="gzip")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    with h5py.File(tmp_path / "x.h5") as file:
        place = file["cube"].id.get_chunk_info(0).byte_offset
    data[place + 10] ^= 255
    (tmp_path / "x.h5").write_bytes(data)
    with open_cube(tmp_path / "x.h5") as source, pytest.raises(SceneError, match=r"x.h5: row 0 cannot be read \("):
        source.read(0, 6)


@pytest.mark.parametrize("name", ["x.h5", "x.mat"])
@pytest.mark.parametrize("checked", [False, True])
def test_a_chunk_that_unpacks_to_more_than_it_has(tmp_path: Path, h5py: Any, name: str, checked: bool) -> None:
    """160 MiB of zeros in the place of a chunk of 64 KiB, with a checksum behind and without."""
    with h5py.File(tmp_path / name, "w") as file:
        cube = np.zeros((64, 32, 16), np.uint16)
        file.create_dataset("cube", data=cube, chunks=cube.shape, compression="gzip", fletcher32=checked)
    bomb = zlib.compress(bytes(160 << 20))
    with h5py.File(tmp_path / name, "r+") as file:
        file["cube"].id.write_direct_chunk((0, 0, 0), bomb + b"\0\0\0\0" * checked)
    tracemalloc.start()
    with pytest.raises(SceneError, match="has a chunk that unpacks to more than its 65536 bytes"):
        read(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_large_chunks_are_read(tmp_path: Path, h5py: Any) -> None:
    """Random numbers, whose chunks are large enough to be looked at, with the filters that are usual."""
    cube = np.random.default_rng(0).integers(0, 65536, (64, 40, 100)).astype(np.uint16)
    for options in ({}, {"shuffle": True}, {"fletcher32": True}, {"compression": "lzf"}):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("cube", data=cube, **{"chunks": (50, 40, 100), "compression": "gzip", **options})
        np.testing.assert_array_equal(read(tmp_path / "x.h5"), cube)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
class TestWhatDoesNotEnd:
    def test_a_damaged_heap(self, tmp_path: Path, h5py: Any) -> None:
        """libhdf5 does not come back from a dimension list whose heap has an object of four billion bytes."""
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["cube"], file["y"] = CUBE, np.arange(len(CUBE))
            file["y"].make_scale("y")
            file["cube"].dims[0].attach_scale(file["y"])
        data = bytearray((tmp_path / "x.h5").read_bytes())
        heap = data.find(b"GCOL")
        assert heap > 0
        data[heap + 21 : heap + 25] = b"\xff" * 4
        (tmp_path / "x.h5").write_bytes(data)
        with pytest.raises(SceneError, match=r"does not end; it is damaged|cannot be read"), open_cube(tmp_path / "x.h5"):
            pass

    def test_it_is_given_up(self, tmp_path: Path) -> None:
        with pytest.raises(SceneError, match=r"x\.h5: reading what it says of its data does not end"):
            checks.check_ends(tmp_path / "x.h5", lambda: time.sleep(600), seconds=0.2)

    def test_a_crash(self, tmp_path: Path) -> None:
        with pytest.raises(SceneError, match="ends in signal 11; it is damaged"):
            checks.check_ends(tmp_path / "x.h5", lambda: os.kill(os.getpid(), signal.SIGSEGV))

    def test_an_error_is_left_to_who_reads(self, tmp_path: Path) -> None:
        checks.check_ends(tmp_path / "x.h5", lambda: 1 / 0)
