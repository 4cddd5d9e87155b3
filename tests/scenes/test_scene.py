"""Scenes put together, found and packed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import OutputError, SceneError
from hsiedge.scenes.catalog import CATALOG, lookup
from hsiedge.scenes.io.cube import Cube, SceneWarning
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.reader import LabelRaster, check_file
from hsiedge.scenes.open import cache_dir, locate, open_scene, search_path
from hsiedge.scenes.pack import pack
from hsiedge.scenes.scene import Scene, build_scene

CUBE = np.arange(4 * 6 * 3, dtype=np.uint16).reshape(4, 6, 3) * 251
LABELS = np.array([[0, 1, 10, 10, 1, 0]] * 4, np.uint8)


def build(labels: np.ndarray | None = LABELS, cube: np.ndarray = CUBE, classes: dict[int, str] | None = None) -> Scene:
    return build_scene(
        "made", Cube.of_array(cube), None if labels is None else LabelRaster(labels), classes, source="folder/made.npy"
    )


def refused(match: str, **arguments: Any) -> None:
    with pytest.raises(SceneError, match=match) as caught:
        build(**arguments)
    assert str(caught.value).startswith("folder/made.npy")
    assert "\n" not in str(caught.value)


class TestBuild:
    def test_whole(self) -> None:
        scene = build(classes={10: "Trees", 1: "Water"})
        assert list(scene.classes.items()) == [(1, "Water"), (10, "Trees")]
        assert (scene.shape, scene.bands, scene.titles) == ((4, 6), 3, ["Water", "Trees"])
        assert scene.labelled().dtype == np.uint16

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8"])
    def test_counts_that_are_none(self, bad: float, dtype: Any) -> None:
        cube = (CUBE // 251).astype(dtype)
        build(cube=cube)
        cube[2, 3, 1] = bad
        with pytest.warns(SceneWarning, match=r"folder/made\.npy: 1 pixels hold NaN or infinite values, and are left out"):
            scene = build(cube=cube)
        assert np.argwhere(scene.empty).tolist() == [[2, 3]]
        cube[:, :, 1] = bad
        refused("each pixel has no data, NaN or infinite values in one of its 3 bands", cube=cube)

    def test_sizes_differ(self) -> None:
        refused("cube is 4 x 6 pixels, its labels 3 x 6", labels=LABELS[1:])
        refused("cube is 4 x 6 pixels, its labels 6 x 4", labels=LABELS.T)

    @pytest.mark.parametrize("label", [1.5, np.nan, np.inf])
    def test_labels_that_are_not_whole(self, label: float) -> None:
        labels = LABELS.astype(float)
        assert (build(labels).labelled() == LABELS).all()
        labels[1, 1] = label
        refused("not whole numbers", labels=labels)

    @pytest.mark.parametrize(
        ("dtype", "label"), [(np.int16, -1), (np.float64, -1), (np.int64, 65536), (np.uint64, 2**63), (np.float32, 1e30)]
    )
    def test_labels_out_of_range(self, dtype: type, label: float) -> None:
        labels = LABELS.astype(dtype)
        labels[0, 0] = label
        refused("its labels go from", labels=labels)

    def test_no_label_at_all(self) -> None:
        refused("no pixel is labelled", labels=np.zeros_like(LABELS))

    def test_labels_of_other_classes(self) -> None:
        refused(r"label ids \[10\] are not among the scene's classes \[1, 2\]", classes={1: "a", 2: "b"})
        refused(r"no pixel of class 2 \(b\)", classes={1: "a", 2: "b", 10: "c"})

    def test_big_endian_becomes_native(self) -> None:
        scene = build(LABELS.astype(">i4"), CUBE.astype(">u2"))
        assert scene.cube.dtype.isnative
        assert (scene.cube == CUBE).all()
        assert scene.labelled().dtype == np.dtype(np.uint16)

    def test_wavelengths_that_do_not_fit_are_left_out(self) -> None:
        with pytest.warns(SceneWarning, match="its 2 wavelengths are not for 3 bands, and are left out"):
            assert build_scene("made", Cube.of_array(CUBE, wavelengths=(400.0, 500.0)), None).wavelengths == ()
        scene = build_scene("made", Cube.of_array(CUBE, wavelengths=(400.0, 500.0, 600.0)), None)
        assert scene.wavelengths == (400.0, 500.0, 600.0)

    def test_sha256_is_of_values_not_of_their_order_in_memory(self) -> None:
        expected = hashlib.sha256(b"<u2 (4, 6, 3)" + CUBE.astype("<u2").tobytes()).hexdigest()
        for cube in (CUBE, np.asfortranarray(CUBE), CUBE.astype(">u2"), np.repeat(CUBE, 2, 1)[:, ::2]):
            assert Scene("made", cube, None, {}).sha256 == expected
            assert build(cube=cube).sha256 == expected
        for other in (CUBE.astype(np.int32), CUBE.reshape(6, 4, 3), CUBE + 1):
            assert Scene("made", other, None, {}).sha256 != expected

    def test_unlabelled(self) -> None:
        scene = build(None)
        assert (scene.labels, scene.classes) == (None, {})
        with pytest.raises(SceneError, match="made has no labels; use labels=FILE"):
            scene.labelled()


class TestOpenFiles:
    def test_numpy_files_stay_on_disk(self, tmp_path: Path) -> None:
        np.save(tmp_path / "flight.npy", CUBE)
        np.save(tmp_path / "gt.npy", LABELS)
        scene = open_scene(tmp_path / "flight.npy", tmp_path / "gt.npy")
        assert isinstance(scene.cube, np.memmap)
        assert (scene.name, scene.official, scene.classes) == ("flight", None, {1: "class 1", 10: "class 10"})
        assert open_scene(tmp_path / "flight.npy").labels is None

    def test_mat_and_npy_of_one_scene_agree(self, tmp_path: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io", reason="scipy writes .mat, and is not installed")
        np.save(tmp_path / "a.npy", CUBE)
        scipy_io.savemat(tmp_path / "a.mat", {"cube": CUBE, "gt": LABELS})
        mat = open_scene(tmp_path / "a.mat", tmp_path / "a.mat", labels_key="gt")
        assert mat.sha256 == open_scene(tmp_path / "a.npy").sha256
        assert mat.cube.flags.c_contiguous
        assert (mat.labelled() == LABELS).all()

    def test_errors_name_the_file(self, tmp_path: Path) -> None:
        for name in ("gone.npy", "gone.npz", "gone.mat", "folder/gone"):
            with pytest.raises(SceneError, match=r"gone.*no such file"):
                open_scene(tmp_path / name)
        with pytest.raises(SceneError, match=r"^salinas: no such file; .* as one; hsiedge scenes pack salinas$"):
            check_file(Path("salinas"))
        np.save(tmp_path / "a.npy", CUBE)
        np.save(tmp_path / "gt.npy", LABELS[1:])
        with pytest.raises(SceneError, match=r"a\.npy: the cube is 4 x 6"):
            open_scene(tmp_path / "a.npy", tmp_path / "gt.npy")


class TestPack:
    def test_round_trip(self, tmp_path: Path) -> None:
        scene = Scene(
            "made", CUBE, LABELS.astype(np.uint16), {1: "Wässer", 10: "Trees"}, (400.5, 500.0, 600.0), -9999.0, "DN",
            Georeference((30.0, 0.0, 5e5, 0.0, -30.0, 5.8e6), "EPSG:32633"), True, scale=(0.1, 0.2, 0.3),
            offset=(1.0, 0.0, 0.0), widths=(5.0, 5.0, 6.0), quantity="counts", left_out=(),
        )  # fmt: skip
        pack(scene, tmp_path / "a.npz")
        back = open_scene(tmp_path / "a.npz")
        assert back.sha256 == scene.sha256
        assert (back.labelled() == LABELS).all()
        for entry in dataclasses.fields(Scene):
            if entry.name not in ("cube", "labels", "source"):
                assert getattr(back, entry.name) == getattr(scene, entry.name), entry.name

    def test_unlabelled(self, tmp_path: Path) -> None:
        pack(build(None), tmp_path / "a.npz")
        assert open_scene(tmp_path / "a.npz").labels is None

    def test_one_that_differs_still_warns(self, tmp_path: Path) -> None:
        pack(dataclasses.replace(build(), official=False), tmp_path / "a.npz")
        with pytest.warns(SceneWarning, match=r"a\.npz differs from the official made"):
            assert open_scene(tmp_path / "a.npz").official is False

    def test_any_other_npz_is_no_pack(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", cube=CUBE)
        assert (open_scene(tmp_path / "a.npz").cube == CUBE).all()

    def test_where_it_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot write"):
            pack(build(), tmp_path / "file" / "a.npz")

    @pytest.mark.parametrize(
        "change",
        [
            {"classes": [[1, "a"]]},
            {"classes": [[1, "a"], [10, "b"], [11, "c"]]},
            {"classes": [[0, "a"], [1, "b"], [10, "c"]]},
            {"classes": [["one", "a"]]},
            {"classes": 7},
            {"classes": None},
            {"wavelengths": ["red"]},
            {"wavelengths": None},
            {"nodata": "none"},
            {"nodata": [1]},
            {"official": "yes"},
            {"official": 1},
            {"georeference": []},
        ],
        ids=str,
    )
    def test_facts_that_cannot_be(self, tmp_path: Path, change: dict[str, Any]) -> None:
        path = tampered(tmp_path, **change)
        with pytest.raises(SceneError, match=r"a\.npz"):
            open_scene(path)

    def test_facts_that_are_unknown_are_left_alone(self, tmp_path: Path) -> None:
        assert open_scene(tampered(tmp_path, later=[1, 2], another={})).name == "made"

    @pytest.mark.parametrize(
        "text", [b"", b"no JSON", b"[]", b"3", b"{}", b"\xff\xfe\xfd", b"[" * 5000, b'"' + b"x" * (1 << 20) + b'"']
    )
    def test_facts_that_are_none(self, tmp_path: Path, text: bytes) -> None:
        np.savez(tmp_path / "a.npz", cube=CUBE, facts=np.frombuffer(text, np.uint8))
        with pytest.raises(SceneError, match=r"a\.npz"):
            open_scene(tmp_path / "a.npz")

    @pytest.mark.parametrize(
        "arrays",
        [
            {"cube": None},
            {"cube": CUBE[..., 0]},
            {"cube": CUBE.astype(object)},
            {"labels": LABELS[1:]},
            {"labels": LABELS.astype(np.int8) - 1},
            {"facts": np.array("text")},
            {"facts": np.zeros((2, 2))},
            {"facts": np.array([{}], object)},
        ],
        ids=str,
    )
    def test_arrays_that_cannot_be(self, tmp_path: Path, arrays: dict[str, Any]) -> None:
        path = tampered(tmp_path)
        with np.load(path) as whole:
            kept = {**whole, **arrays}
        np.savez(path, **{name: array for name, array in kept.items() if array is not None})
        with pytest.raises(SceneError, match=r"a\.npz"):
            open_scene(path)

    def test_facts_that_are_too_many(self, tmp_path: Path) -> None:
        assert open_scene(tampered(tmp_path, later="x" * 1000)).name == "made"
        with pytest.raises(SceneError, match=r"its facts take 10.* bytes"):
            open_scene(tampered(tmp_path, later="x" * (1 << 20)))

    def test_facts_that_lie_about_their_size(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_2_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 50,)})
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("facts.npy", header.getvalue() + b"{}")
        with pytest.raises(SceneError, match="MiB are free"):
            open_scene(tmp_path / "a.npz")

    def test_truncated(self, tmp_path: Path) -> None:
        path = tampered(tmp_path)
        whole = path.read_bytes()
        for length in (0, 10, len(whole) // 2, len(whole) - 10):
            path.write_bytes(whole[:length])
            with pytest.raises(SceneError, match=r"a\.npz"):
                open_scene(path)


def tampered(folder: Path, **facts: Any) -> Path:
    """A pack whose facts have been changed."""
    path = folder / "a.npz"
    pack(build(), path)
    with np.load(path) as arrays:
        kept = dict(arrays)
    changed = {**json.loads(bytes(kept["facts"])), **facts}
    np.savez(path, **{**kept, "facts": np.frombuffer(json.dumps(changed).encode(), np.uint8)})
    return path


class TestFound:
    """Where catalog scenes are looked for."""

    @pytest.fixture
    def bad_pavia(self) -> Scene:
        """Too small to be Pavia, but of its bands and classes; told apart by its counts."""
        entry = CATALOG["pavia"]
        labels = (np.arange(30) % 10).reshape(5, 6).astype(np.uint16)
        return Scene("pavia", np.zeros((5, 6, entry.shape[2]), np.uint16), labels, entry.classes)

    def test_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_pavia: Scene) -> None:
        first, second, cached = tmp_path / "given", tmp_path / "told", tmp_path / "cache" / "hsiedge"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("HSIEDGE_DATA", str(second))
        assert search_path(first) == [first, second, cached]
        assert cache_dir() == cached
        with pytest.raises(SceneError, match=r"pavia: PaviaU.mat .*given.*told.*hsiedge scenes fetch pavia"):
            open_scene("pavia", data_dir=first)
        for count, folder in enumerate((cached, second, first)):
            pack(dataclasses.replace(bad_pavia, cube=bad_pavia.cube + count), folder / "pavia.npz")
            scene = open_scene("pavia", data_dir=first)
            assert scene.source == str(folder / "pavia.npz")
            assert scene.cube[0, 0, 0] == count
        assert open_scene("PaviaU").source == str(second / "pavia.npz")
        monkeypatch.delenv("HSIEDGE_DATA")
        assert open_scene("Pavia-University").source == str(cached / "pavia.npz")

    def test_official_files_go_before_a_pack(self, tmp_path: Path, bad_pavia: Scene) -> None:
        pack(bad_pavia, tmp_path / "pavia.npz")
        for file in (CATALOG["pavia"].cube, CATALOG["pavia"].labels):
            assert locate(CATALOG["pavia"], tmp_path) == tmp_path / "pavia.npz"
            (tmp_path / file.name).touch()
        assert locate(CATALOG["pavia"], tmp_path) == tmp_path

    def test_a_pack_of_another_scene(self, tmp_path: Path, bad_pavia: Scene) -> None:
        pack(bad_pavia, tmp_path / "salinas.npz")
        with pytest.raises(SceneError, match=r"salinas\.npz: holds pavia, 103 bands, not Salinas"):
            open_scene("salinas", data_dir=tmp_path)
        pack(dataclasses.replace(bad_pavia, name="salinas"), tmp_path / "salinas.npz")
        with pytest.raises(SceneError, match="not Salinas with its classes"):
            open_scene("salinas", data_dir=tmp_path)

    def test_indian_pines_of_tensorly_comes_last(self, tmp_path: Path, indian_pines: Scene) -> None:
        assert "tensorly" in indian_pines.source
        pack(indian_pines, tmp_path / "indian_pines.npz")
        packed = open_scene("ip", data_dir=tmp_path)
        assert packed.source == str(tmp_path / "indian_pines.npz")
        assert packed.sha256 == indian_pines.sha256
        assert packed.official is True

    def test_unknown_names_list_the_catalog(self) -> None:
        with pytest.raises(SceneError, match="no scene is called 'atlantis'; the catalog has indian_pines, pavia"):
            open_scene("atlantis")

    def test_other_bands_are_not_that_scene(self, tmp_path: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io", reason="scipy writes .mat, and is not installed")
        scipy_io.savemat(tmp_path / "PaviaU.mat", {"paviaU": np.zeros((5, 6, 3), np.uint16)})
        scipy_io.savemat(tmp_path / "PaviaU_gt.mat", {"paviaU_gt": (np.arange(30) % 10).reshape(5, 6)})
        with pytest.raises(SceneError, match=r"PaviaU\.mat: has 3 bands, Pavia University has 103"):
            open_scene("pavia", data_dir=tmp_path)


class TestReal:
    def test_indian_pines(self, indian_pines: Scene) -> None:
        assert indian_pines.official is True
        assert (indian_pines.shape, indian_pines.bands, indian_pines.cube.dtype) == ((145, 145), 200, np.uint16)
        assert (indian_pines.labelled() > 0).sum() == 10_249
        assert list(indian_pines.classes) == list(range(1, 17))

    def test_indian_pines_with_one_count_changed_is_not_official(
        self, tmp_path: Path, indian_pines: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "tensorly" / "datasets" / "data"
        folder.mkdir(parents=True)
        (tmp_path / "tensorly" / "__init__.py").touch()
        cube = np.array(indian_pines.cube)
        cube[7, 7, 7] += 1
        np.save(folder / "Indian_pines_corrected.npy", cube)
        np.save(folder / "Indian_pines_gt.npy", indian_pines.labelled())
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "tensorly", raising=False)
        with pytest.warns(SceneWarning, match="differs from the official Indian Pines"):
            assert open_scene("indian_pines").official is False

    def test_salinas_a(self, shared: Path) -> None:
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
        scene = open_scene("salinas-a", data_dir=shared / "data" / "salinas_a")
        assert scene.official is True
        assert list(scene.classes) == [1, 10, 11, 12, 13, 14]
        assert (scene.shape, scene.bands, scene.cube.dtype) == ((83, 86), 204, np.int16)
        assert (scene.labelled() > 0).sum() == 5348

    def test_salinas_a_changed_in_one_byte_of_its_file(self, tmp_path: Path, shared: Path) -> None:
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
        for path in (shared / "data" / "salinas_a").iterdir():
            shutil.copyfile(path, tmp_path / path.name)
        cube = tmp_path / "SalinasA_corrected.mat"
        changed = bytearray(cube.read_bytes())
        changed[20] ^= 1  # in the text of its head: the counts stay
        cube.write_bytes(changed)
        assert open_scene("salinas_a", data_dir=tmp_path).official is True

    def test_simulated_pavia_is_told_from_the_official_one(self, shared: Path) -> None:
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
        with pytest.warns(SceneWarning, match=r"PaviaU\.mat differs from the official Pavia University"):
            scene = open_scene("pavia", data_dir=shared / "data" / "pavia_simulated")
        assert scene.official is False
        assert (scene.shape, scene.bands, scene.name) == ((610, 340), 103, "pavia")

    def test_mat_and_pack_agree(self, tmp_path: Path, shared: Path) -> None:
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
        scene = open_scene("salinas_a", data_dir=shared / "data" / "salinas_a")
        pack(scene, tmp_path / "salinas_a.npz")
        packed = open_scene("salinas_a", data_dir=tmp_path)
        assert packed.sha256 == scene.sha256
        assert (packed.labelled() == scene.labelled()).all()
        assert (packed.classes, packed.official) == (scene.classes, True)


class TestCatalog:
    def test_names(self) -> None:
        assert list(CATALOG) == ["indian_pines", "pavia", "pavia_centre", "salinas", "salinas_a", "ksc", "botswana"]

    @pytest.mark.parametrize(
        ("name", "classes", "bands"),
        [
            ("indian_pines", 16, 200),
            ("pavia", 9, 103),
            ("pavia_centre", 9, 102),
            ("salinas", 16, 204),
            ("salinas_a", 6, 204),
            ("ksc", 13, 176),
            ("botswana", 14, 145),
        ],
    )
    def test_entries(self, name: str, classes: int, bands: int) -> None:
        entry = CATALOG[name]
        assert (len(entry.classes), entry.shape[2]) == (classes, bands)
        assert min(entry.classes) >= 1
        assert len({title.lower() for title in entry.classes.values()}) == classes
        assert entry.labels.key == f"{entry.cube.key.removesuffix('_corrected')}_gt"
        for file in (entry.cube, entry.labels):
            assert file.url.startswith("https://www.ehu.eus/ccwintco/uploads/")
            assert file.url.rsplit("/", 1)[1] == file.name
            assert file.name.endswith(".mat")
            assert file.key in (file.name[:-4], file.name[0].lower() + file.name[1:-4])

    def test_checksums(self, shared: Path) -> None:
        lines = (shared / "data" / "official_sha256.tsv").read_text().splitlines()
        known = {name: sha256 for name, _, sha256 in (line.split("\t") for line in lines)}
        assert {entry.cube.name: entry.cube.sha256 for entry in CATALOG.values()} == known

    @pytest.mark.parametrize(
        ("alias", "name"),
        [
            ("IP", "indian_pines"),
            ("indian pines", "indian_pines"),
            ("paviau", "pavia"),
            ("PaviaU", "pavia"),
            ("pavia_university", "pavia"),
            ("Pavia-Centre", "pavia_centre"),
            ("SalinasA", "salinas_a"),
            ("KSC", "ksc"),
        ],
    )
    def test_aliases(self, alias: str, name: str) -> None:
        assert lookup(alias).name == name

    def test_no_alias_is_ambiguous(self) -> None:
        names = [name for entry in CATALOG.values() for name in (entry.name, *entry.aliases)]
        assert len(set(names)) == len(names)


def test_the_published_arrays_as_npy_are_found(tmp_path, indian_pines) -> None:
    np.save(tmp_path / "Indian_pines_corrected.npy", indian_pines.cube)
    np.save(tmp_path / "Indian_pines_gt.npy", indian_pines.labels)
    scene = open_scene("indian_pines", data_dir=tmp_path)
    assert scene.source == str(tmp_path)
    assert (scene.official, scene.sha256) == (indian_pines.official, indian_pines.sha256)
