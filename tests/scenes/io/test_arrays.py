from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import MissingExtraError
from hsiedge.scenes.io.reader import read_labels
from tests.scenes.io.files import facts, read, refused

CUBE = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 251
LABELS = np.array([[0, 1, 2, 2, 1, 0]] * 4, np.uint8)
HUGE = (1 << 20, 1 << 20, 1 << 10)  # 2 PiB of 16-bit counts


@pytest.fixture
def scipy_io() -> Any:
    return pytest.importorskip("scipy.io", reason="scipy writes .mat v5, and is not installed")


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py", reason="h5py writes .mat v7.3, and is not installed")


def write_mat73(h5py: Any, path: Path, **arrays: np.ndarray) -> Path:
    """As MATLAB does: 512 bytes before the HDF5 that say so, and the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T)
    with path.open("r+b") as raw:
        text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  5 10:00:00 2026 HDF5 schema 1.00 ."
        raw.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")
    return path


class TestMat:
    def test_v5(self, tmp_path: Path, scipy_io: Any) -> None:
        path = tmp_path / "a.mat"
        scipy_io.savemat(
            path, {"cube": CUBE, "gt": LABELS, "note": "text", "cell": np.array([1, "a"], object)}, do_compression=True
        )
        assert (read(path) == CUBE).all()
        assert read(path).dtype == np.uint16
        assert (read_labels(path, "gt").array == LABELS).all()

    @pytest.mark.parametrize("userblock", [0, 512])
    def test_what_h5py_wrote_has_its_axes_as_they_stand(self, tmp_path: Path, h5py: Any, userblock: int) -> None:
        with h5py.File(tmp_path / "a.mat", "w", userblock_size=userblock) as file:
            file["cube"] = CUBE
        assert (read(tmp_path / "a.mat") == CUBE).all()

    @pytest.mark.parametrize("kind", ["uint8", "float64", "bool"])
    def test_a_sparse_label_map(self, tmp_path: Path, scipy_io: Any, kind: str) -> None:
        import scipy.sparse

        labels = LABELS.astype(kind)
        scipy_io.savemat(tmp_path / "a.mat", {"gt": scipy.sparse.csc_matrix(labels)})
        assert (read_labels(tmp_path / "a.mat").array == labels).all()

    def test_a_sparse_label_map_that_fills_the_memory(self, tmp_path: Path, scipy_io: Any, little_memory: None) -> None:
        import scipy.sparse

        scipy_io.savemat(tmp_path / "a.mat", {"gt": scipy.sparse.csc_matrix((1 << 22, 1 << 20))})
        refused(tmp_path / "a.mat", "MiB are free|cannot be read", ndim=2)

    def test_wrong_key_lists_what_there_is(self, tmp_path: Path, scipy_io: Any) -> None:
        path = tmp_path / "a.mat"
        scipy_io.savemat(path, {"paviaU": CUBE, "other": CUBE[1:]})
        refused(path, r"no variable 'pavia'; it has paviaU 4x6x3, other 3x6x3", "pavia")
        refused(path, r"it has paviaU 4x6x3, other 3x6x3; use cube_key=")
        refused(path, r"use labels_key=", ndim=2)
        refused(path, r"2 dimensions was expected, this one is \(4, 6, 3\)", "paviaU", ndim=2)
        scipy_io.savemat(path, {"text": "no numbers"})
        refused(path, "it has no arrays")

    @pytest.mark.parametrize("compressed", [False, True])
    def test_truncated_anywhere(self, tmp_path: Path, scipy_io: Any, compressed: bool) -> None:
        path = tmp_path / "a.mat"
        scipy_io.savemat(path, {"cube": np.random.default_rng(0).integers(0, 9999, (9, 9, 5))}, do_compression=compressed)
        whole = path.read_bytes()
        for length in (0, 1, 100, 128, 130, 140, 200, len(whole) // 2, len(whole) - 9):
            path.write_bytes(whole[:length])
            refused(path, "cannot be read|has no arrays|no arrays")

    def test_not_a_mat(self, tmp_path: Path) -> None:
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
        path = tmp_path / "a.mat"
        for content in (b"<html>404 Not Found</html>" * 20, b"\x00" * 500, bytes(range(256)) * 8):
            path.write_bytes(content)
            refused(path, "cannot be read|no arrays")

    def test_declares_more_than_there_can_be(self, tmp_path: Path, scipy_io: Any, little_memory: None) -> None:
        path = tmp_path / "a.mat"
        scipy_io.savemat(path, {"cube": CUBE})
        dimensions = np.array(CUBE.shape, "<i4").tobytes()
        whole = path.read_bytes()
        assert whole.count(dimensions) == 1
        path.write_bytes(whole.replace(dimensions, np.array([2**30, 2**30, 7], "<i4").tobytes()))
        refused(path, rf"144 bytes of type 4 for {7 * 2**60} numbers")
        path.write_bytes(whole.replace(dimensions, np.array([400, 600, 30], "<i4").tobytes()))
        refused(path, "cannot be read")

    def test_complex_and_strings_are_no_counts(self, tmp_path: Path, scipy_io: Any) -> None:
        path = tmp_path / "a.mat"
        scipy_io.savemat(path, {"cube": CUBE * 1j})
        refused(path, "holds complex128, not numbers")

    def test_without_scipy_names_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
        path = tmp_path / "a.mat"
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(128))
        with pytest.raises(MissingExtraError, match=r"hsiedge\[mat\]"):
            read(path)


class TestMat73:
    def test_axes_come_back_in_order(self, tmp_path: Path, h5py: Any) -> None:
        path = write_mat73(h5py, tmp_path / "a.mat", cube=CUBE, gt=LABELS)
        assert path.read_bytes()[512:520] == b"\x89HDF\r\n\x1a\n"
        assert (read(path) == CUBE).all()
        assert (read_labels(path).array == LABELS).all()
        assert read(path).dtype == np.uint16

    def test_wrong_key(self, tmp_path: Path, h5py: Any) -> None:
        refused(write_mat73(h5py, tmp_path / "a.mat", cube=CUBE), "no variable 'x'; it has cube 3x6x4", "x")

    def test_truncated(self, tmp_path: Path, h5py: Any) -> None:
        path = write_mat73(h5py, tmp_path / "a.mat", cube=np.tile(CUBE, (20, 20, 5)))
        whole = path.read_bytes()
        for length in (300, 600, 1500, len(whole) // 2):
            path.write_bytes(whole[:length])
            refused(path, "cannot be read")

    def test_declares_more_than_there_can_be(self, tmp_path: Path, h5py: Any, little_memory: None) -> None:
        path = tmp_path / "a.mat"
        with h5py.File(path, "w") as file:
            file.create_dataset("cube", HUGE, "u2", chunks=(64, 64, 8))
        refused(path, "MiB are free")

    def test_points_into_other_files(self, tmp_path: Path, h5py: Any) -> None:
        secret, path = tmp_path / "secret.bin", tmp_path / "a.mat"
        secret.write_bytes(CUBE.tobytes())
        with h5py.File(path, "w") as file:
            file.create_dataset("cube", CUBE.shape, "u2", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        refused(path, "points into other files")
        with h5py.File(tmp_path / "source.h5", "w") as file:
            file["cube"] = CUBE
        layout = h5py.VirtualLayout(CUBE.shape, "u2")
        layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "cube", CUBE.shape)
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("cube", layout)
        refused(path, "points into other files")
        with h5py.File(path, "w") as file:
            file["cube"] = h5py.ExternalLink(str(tmp_path / "source.h5"), "cube")
        refused(path, "no arrays")
        refused(path, "has no variable", "cube")

    def test_references_are_no_counts(self, tmp_path: Path, h5py: Any) -> None:
        path = tmp_path / "a.mat"
        with h5py.File(path, "w") as file:
            file.create_dataset("cube", (2, 2, 2), h5py.ref_dtype)
        refused(path, "not numbers|cannot be read")

    def test_without_h5py_names_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "h5py", None)
        path = tmp_path / "a.mat"
        path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512))
        with pytest.raises(MissingExtraError, match=r"hsiedge\[hdf\]"):
            read(path)


class TestNumpy:
    def test_npy_is_memory_mapped(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", CUBE)
        array = facts(tmp_path / "a.npy").array
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert (array == CUBE).all()

    def test_a_float_label_map_and_a_third_axis(self, tmp_path: Path) -> None:
        for labels in (LABELS[:, :, None], LABELS.astype(np.float32)):
            np.save(tmp_path / "a.npy", labels)
            assert (read_labels(tmp_path / "a.npy").array == LABELS).all()

    def test_npz(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        np.savez_compressed(path, cube=CUBE, gt=LABELS)
        assert (read(path) == CUBE).all()
        assert (read_labels(path, "gt").array == LABELS).all()
        refused(path, "no variable 'nothing'; it has cube 4x6x3, gt 4x6", "nothing")

    def test_pickles_are_refused_unopened(self, tmp_path: Path) -> None:
        trap = _Trap(tmp_path / "sprung")
        (tmp_path / "a.npy").write_bytes(pickle.dumps(trap))
        refused(tmp_path / "a.npy", "cannot be read")
        objects = np.empty((2, 2, 2), object)
        objects[:] = trap
        np.save(tmp_path / "b.npy", objects)
        refused(tmp_path / "b.npy", "cannot be read")
        np.savez(tmp_path / "c.npz", cube=objects)
        refused(tmp_path / "c.npz", "cannot be read")
        assert not (tmp_path / "sprung").exists()
        pickle.loads(pickle.dumps(trap))
        assert (tmp_path / "sprung").exists()  # the trap works

    @pytest.mark.parametrize("array", [CUBE * 1j, CUBE.astype(str), CUBE.astype("M8[s]"), CUBE > 3])
    def test_no_counts(self, tmp_path: Path, array: np.ndarray) -> None:
        np.save(tmp_path / "a.npy", array)
        refused(tmp_path / "a.npy", "not numbers")

    @pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 6, 3, 1), (0, 6, 3), ()])
    def test_other_dimensions(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint16))
        refused(tmp_path / "a.npy", "is no cube|cannot be read")

    @pytest.mark.parametrize("shape", [HUGE, (2**62, 2**62, 2**62), (2**31, 2**31, 4)])
    def test_declares_more_than_there_is(self, tmp_path: Path, shape: tuple[int, ...], little_memory: None) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_2_0(header, {"descr": "<u2", "fortran_order": False, "shape": shape})
        (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
        refused(tmp_path / "a.npy", "cannot be read")
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("cube.npy", header.getvalue() + bytes(100))
        refused(tmp_path / "b.npz", "MiB are free")

    def test_truncated(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", CUBE)
        np.savez(tmp_path / "b.npz", cube=CUBE)
        for name in ("a.npy", "b.npz"):
            whole = (tmp_path / name).read_bytes()
            for length in (0, 5, 40, len(whole) - 20):
                (tmp_path / name).write_bytes(whole[:length])
                refused(tmp_path / name, "cannot be read")

    def test_npz_member_shorter_than_its_header_says(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<u2", "fortran_order": False, "shape": (50, 50, 9)})
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("cube.npy", header.getvalue() + bytes(100))
        refused(tmp_path / "a.npz", "cannot be read")


@pytest.mark.parametrize("name", ["a.mat", "a.npy", "a.npz", "a.hdr", "a.bmp", "a"])
def test_missing(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "no such file")
    (tmp_path / name).mkdir()
    refused(tmp_path / name, "a folder; a file is expected")


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(b"II*\0")
    refused(
        tmp_path / "a.bmp",
        r"not a format that hsiedge reads \(.mat, .npy, .npz, .hdr, .tif, .tiff, .nc, .nc4, .h5, .hdf5, .he5, or ENVI",
    )


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("suffix", [".npz", ".mat", "7.3.mat"])
@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_wavelengths_beside_the_cube(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path, arrays = tmp_path / f"a{suffix}", {"cube": CUBE, "Wavelengths": np.array([0.7, 0.55, 0.4]).reshape(shape)}
    if suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif suffix == ".mat":
        pytest.importorskip("scipy.io", reason="scipy writes .mat v5, and is not installed").savemat(path, arrays)
    else:
        write_mat73(pytest.importorskip("h5py", reason="h5py writes .mat v7.3, and is not installed"), path, **arrays)
    assert facts(path).wavelengths == pytest.approx((700, 550, 400))
    assert (read(path) == CUBE).all()


def test_wavelengths_of_another_length_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", cube=CUBE, wavelengths=np.arange(400, 406))
    assert facts(tmp_path / "a.npz").notes == ("its 6 wavelengths are not for 3 bands, and are left out",)


def test_sparse_labels_of_v73_are_refused(tmp_path: Path, h5py: Any) -> None:
    path = write_mat73(h5py, tmp_path / "a.mat", cube=CUBE)
    with h5py.File(path, "a") as file:
        file.create_group("gt").attrs["MATLAB_sparse"] = np.uint64(4)
        for part in ("data", "ir", "jc"):
            file[f"gt/{part}"] = [0, 1]
    refused(path, "gt is sparse, which is not read of v7.3", ndim=2)
