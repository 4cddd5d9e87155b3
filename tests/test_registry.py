"""Registries: what is loaded when, names that clash, packages and files that fail."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tests.plugin as plugin
from hsiedge.errors import OptionError, SceneError
from hsiedge.mapping.writers import WRITERS, MapFacts, check_suffix, writer
from hsiedge.registry import Origin, Registry, instance_of, run_file
from hsiedge.runtimes import load
from hsiedge.scenes.io.reader import CUBE_READERS, LABEL_READERS
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.pack import pack
from hsiedge.scenes.scene import Scene
from tests.conftest import card_for
from tests.scenes.io.files import read


@dataclasses.dataclass(frozen=True)
class Colour:
    name: str = "grey"


def colours(**ours: Colour | str) -> Registry[Colour]:
    return Registry("hsiedge.colours", "colour", ours, instance_of(Colour))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, on the path of this process."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def installed(site: Path, distribution: str, entries: str, source: str = "") -> None:
    info = site / f"{distribution}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[hsiedge.colours]\n{textwrap.dedent(entries)}")
    (site / f"{distribution}.py").write_text(f"from tests.test_registry import Colour\n{source}")


class TestOurs:
    def test_an_entry_is_loaded_when_it_is_asked_for(self) -> None:
        registry = colours(red=Colour("red"), grey="tests.test_registry:Colour", gone="tests.no_such_module:Colour")
        assert list(registry) == ["red", "grey", "gone"]
        assert (registry["red"], registry["grey"]) == (Colour("red"), Colour())
        assert "grey" in registry
        assert "blue" not in registry
        assert registry.origin("red") is None

    def test_an_unknown_name_is_an_error_that_lists_the_others(self) -> None:
        for ask in (lambda name: colours(red=Colour())[name], lambda name: colours(red=Colour()).find(name)):
            with pytest.raises(OptionError, match="no colour is called 'blue'; there are red"):
                ask("blue")


class TestPackages:
    def test_an_entry_point_is_an_entry_like_ours(self, site: Path) -> None:
        installed(site, "paints", "blue = paints:BLUE\nclass = paints:Colour\n", "BLUE = Colour('blue')\n")
        registry = colours(red=Colour("red"))
        assert list(registry) == ["red", "blue", "class"]
        assert "paints" not in sys.modules
        assert dict(registry.items()) == {"red": Colour("red"), "blue": Colour("blue"), "class": Colour()}
        assert registry.origin("blue") == Origin(distribution="paints 2.0")

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("raise ValueError('no paint\\nleft')\n", r"colour 'blue' of paints 2\.0 cannot be loaded .ValueError: no paint."),
            ("BLUE = 3\n", r"colour 'blue' of paints 2\.0 is no colour: a .*Colour was expected, not int"),
            ("", r"colour 'blue' of paints 2\.0 cannot be loaded .AttributeError: .*BLUE"),
            ("import no_such_package\n", r"cannot be loaded .ModuleNotFoundError: No module named 'no_such_package'"),
        ],
    )
    def test_one_that_fails_is_named_and_in_nobodys_way(
        self, site: Path, source: str, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "paints", raising=False)
        installed(site, "paints", "blue = paints:BLUE\n", source)
        registry = colours(red=Colour("red"))
        with pytest.raises(OptionError, match=reason):
            registry.find("blue")
        assert registry.find("red") == Colour("red")
        with pytest.warns(UserWarning, match=reason):
            assert [name for name, _ in registry.items()] == ["red"]
        assert [name for name, _ in registry.items()] == ["red"]  # told once

    def test_two_packages_that_claim_a_name_are_named(self, site: Path) -> None:
        installed(site, "paints", "blue = paints:Colour\n")
        installed(site, "dyes", "blue = dyes:Colour\ngreen = dyes:Colour\n")
        registry = colours()
        with pytest.raises(OptionError, match=r"colour 'blue' is claimed by (paints 2\.0 and dyes|dyes 2\.0 and paints) 2\.0"):
            registry.find("blue")
        assert registry.find("green") == Colour()

    def test_our_name_stays_ours(self, site: Path) -> None:
        installed(site, "paints", "red = paints:Colour\n")
        registry = colours(red=Colour("red"))
        with pytest.warns(UserWarning, match=r"colour 'red' is hsiedge's own; that of paints 2\.0 has the same name"):
            assert registry.find("red") == Colour("red")
        assert list(registry) == ["red"]


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "mixed.py").write_text("from tests.test_registry import Colour\nmauve = Colour('mauve')\nnumber = 3\n")
        return tmp_path / "mixed.py"

    def test_an_entry_of_a_file_has_its_name_from_then_on(self, file: Path) -> None:
        registry = colours(red=Colour())
        with pytest.raises(OptionError, match="no colour is called 'mauve'"):
            registry.find("mauve")
        assert registry.find(f"{file}:mauve") == Colour("mauve")
        assert registry["mauve"] == Colour("mauve")
        origin = registry.origin("mauve")
        assert origin is not None
        assert (origin.file, len(origin.sha256), str(origin)) == ("mixed.py", 64, "mixed.py")
        assert registry.source("mauve") == f"{file}:mauve"
        assert registry.source("red") is None

    def test_a_file_that_was_changed_is_run_again(self, file: Path) -> None:
        registry = colours()
        registry.find(f"{file}:mauve")
        assert run_file(file)[0] is run_file(file)[0]
        before = registry.origin("mauve")
        file.write_text(file.read_text().replace("Colour('mauve')", "Colour('violet')"))
        assert registry.find(f"{file}:mauve") == Colour("violet")
        assert registry.origin("mauve") != before

    def test_what_fails_is_said_in_one_line(self, file: Path) -> None:
        registry = colours(red=Colour())
        folder = file.parent
        (folder / "bad.py").write_text("raise KeyError('paint')")
        (folder / "other.py").write_text("from mixed import Colour\nmauve = red = Colour()\n")
        registry.find(f"{file}:mauve")
        for text, reason in {
            f"{folder}/none.py:pink": "none.py: no such file",
            f"{folder}/bad.py:red2": r"bad.py: cannot be run \(KeyError: 'paint'\)",
            f"{file}:absent": "mixed.py: has nothing called 'absent'",
            f"{file}:number": "mixed.py:number is no colour: a .* was expected, not int",
            f"{folder}/other.py:red": "'red' is hsiedge's own; give yours another name",
            f"{folder}/other.py:mauve": "'mauve' is taken by .*mixed.py",
        }.items():
            with pytest.raises(OptionError, match=reason):
                registry.find(text)


def linear_model(path: Path, scene: Scene) -> None:
    """A file of the example's runtime, with real weights: the nearest mean spectrum."""
    labels = scene.labelled()
    means = np.stack([scene.cube[labels == label].mean(0) for label in scene.classes]).astype(np.float32)
    card = dataclasses.replace(card_for(scene, 1), kind="patch")
    with path.open("wb") as file:
        np.savez(file, weights=means.T, biases=-(means**2).sum(1) / 2, dtype=scene.cube.dtype.name, card=card.to_json())


@pytest.mark.slow
class TestRuntimes:
    def test_a_file_of_ones_own(self, tiny_scene: Scene, tmp_path: Path) -> None:
        linear_model(tmp_path / "a.linear", tiny_scene)
        source = f"{plugin.PLUGIN}/example_plugin/linear_runtime.py:ENGINE"
        model = load(tmp_path / "a.linear", runtime=source)
        assert model.session.runtime == "example linear 1.0"
        assert model.known.scene.name == "tiny"
        pixels = np.flatnonzero(tiny_scene.labelled())
        spectra = tiny_scene.cube.reshape(-1, tiny_scene.bands)[pixels].astype(np.float64)
        ids = list(tiny_scene.classes)
        means = [tiny_scene.cube[tiny_scene.labelled() == label].mean(0) for label in ids]
        nearest = np.argmin([((spectra - mean) ** 2).sum(1) for mean in means], axis=0)
        assert (model.predict(tiny_scene, pixels) == np.array(ids)[nearest]).mean() > 0.99

    def test_an_installed_one_runs_its_own_files_unasked(self, tiny_scene: Scene, tmp_path: Path) -> None:
        site = plugin.install(tmp_path / "site")
        pack(tiny_scene, tmp_path / "tiny.npz")
        linear_model(tmp_path / "a.linear", tiny_scene)
        np.save(tmp_path / "flight.npy", tiny_scene.cube)
        done = plugin.run("classify", "a.linear", "flight.npy", "-o", "map.npy", "--json", "-", site=site, folder=tmp_path)
        assert '"runtime": "example linear 1.0"' in done.stdout
        assert set(np.unique(np.load(tmp_path / "map.npy"))) == set(tiny_scene.classes)
        plugin.run("bench", "a.linear", "--seconds", "0.1", "--runs", "2", site=site, folder=tmp_path)
        failed = plugin.run("eval", "a.linear", site=None, folder=tmp_path, code=2)
        assert "a.linear: not a model that hsiedge runs" in failed.stderr

    def test_broken_ones_are_told_of_by_name_and_hinder_nobody(self, tmp_path: Path) -> None:
        site = plugin.install(tmp_path / "site")
        from hsiedge.shipped import shipped

        model = str(shipped("-int8.onnx"))
        for name, reason in {
            "broken": "runtime 'broken' of example-plugin 1.0 cannot be loaded (ModuleNotFoundError: No module named "
            "'example_plugin.no_such_module')",
            "wrong": "runtime 'wrong' of example-plugin 1.0 is no runtime: a hsiedge.runtimes.Engine was expected, not str",
        }.items():
            failed = plugin.run("bench", model, "--runtime", name, site=site, folder=tmp_path, code=2)
            assert failed.stderr == f"hsiedge: error: {reason}\n"
        plugin.run("bench", model, "--seconds", "0.1", "--runs", "2", site=site, folder=tmp_path)
        done = plugin.run("bench", model, "--runtime", "ort", "--seconds", "0.1", "--runs", "2", site=site, folder=tmp_path)
        assert "runtime 'ort' is hsiedge's own; that of example-plugin 1.0 has the same name" in done.stderr


RAW = f"{plugin.PLUGIN}/example_plugin/raw.py"


class TestFormats:
    """A reader and a writer of one's own, from a file and from an installed package."""

    @pytest.fixture(autouse=True)
    def _no_formats_of_other_tests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for registry in (CUBE_READERS, LABEL_READERS, WRITERS):
            monkeypatch.setattr(registry, "_files", {})
            monkeypatch.setattr(registry, "_loaded", {})

    @pytest.fixture
    def raw(self, tiny_scene: Scene, tmp_path: Path) -> Path:
        """flight.raw and labels.raw of the tiny scene."""
        module = run_file(Path(RAW))[0]
        module.write(tmp_path / "flight.raw", tiny_scene.cube)
        module.write(tmp_path / "labels.raw", tiny_scene.labelled())
        return tmp_path

    def test_a_scene_of_ones_own_format(self, raw: Path, tiny_scene: Scene) -> None:
        with pytest.raises(SceneError, match=r"flight\.raw: not a format that hsiedge reads \("):
            open_scene(raw / "flight.raw", raw / "labels.raw")
        CUBE_READERS.name_of(f"{RAW}:READER")
        with pytest.raises(SceneError, match=r"labels\.raw: not a format that hsiedge reads"):
            open_scene(raw / "flight.raw", raw / "labels.raw")
        LABEL_READERS.name_of(f"{RAW}:READER")
        scene = open_scene(raw / "flight.raw", raw / "labels.raw")
        assert scene.sha256 == tiny_scene.sha256
        assert (scene.labelled() == tiny_scene.labelled()).all()

    def test_ones_own_reader_comes_first(self, raw: Path, tiny_scene: Scene) -> None:
        (raw / "mine.py").write_text(Path(RAW).read_text().replace('(".raw",)', '(".npy",)'))
        (raw / "flight.npy").write_bytes((raw / "flight.raw").read_bytes())
        with pytest.raises(SceneError, match="cannot be read"):
            read(raw / "flight.npy")
        CUBE_READERS.name_of(f"{raw}/mine.py:READER")
        assert (read(raw / "flight.npy") == tiny_scene.cube).all()

    def test_maps_of_ones_own_format(self, tmp_path: Path) -> None:
        facts = MapFacts((3, 4), {1: "a", 300: "b"}, None)
        with pytest.raises(OptionError, match=r"a map is written as one of \.tif, \.tiff, \.hdr, \.img, \.png, \.npy"):
            check_suffix(tmp_path / "map.raw")
        WRITERS.name_of(f"{RAW}:WRITER")
        labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
        with writer(tmp_path / "map.raw", facts) as take:
            take(labels[:2])
            take(labels[2:])
        assert (run_file(Path(RAW))[0].READER.labels(tmp_path / "map.raw").array == labels).all()
        with pytest.raises(OptionError, match="probabilities are written as one of"):
            check_suffix(tmp_path / "map.raw", probabilities=True)

    @pytest.mark.slow
    @pytest.mark.parametrize("installed", [True, False])
    def test_the_commands_take_them(self, raw: Path, tiny_scene: Scene, installed: bool) -> None:
        site = plugin.install(raw / "site") if installed else None
        own = [] if installed else ["--cube-reader", f"{RAW}:READER", "--map-writer", f"{RAW}:WRITER"]
        linear_model(raw / "a.linear", tiny_scene)
        runtime = ["--runtime", f"{plugin.PLUGIN}/example_plugin/linear_runtime.py:ENGINE"]
        plugin.run("classify", "a.linear", "flight.raw", "-o", "map.raw", *own, *runtime, site=site, folder=raw)
        labels = run_file(Path(RAW))[0].READER.labels(raw / "map.raw").array
        model = load(raw / "a.linear", runtime=runtime[1])
        assert (labels.ravel() == model.predict(tiny_scene, np.arange(labels.size))).all()
        own = [] if installed else ["--cube-reader", f"{RAW}:READER", "--labels-reader", f"{RAW}:READER"]
        words = ["eval", "a.linear", "--cube", "flight.raw", "--labels", "labels.raw", "--json", "-"]
        done = plugin.run(*words, *own, *runtime, site=site, folder=raw)
        assert json.loads(done.stdout)["n"] == np.count_nonzero(tiny_scene.labelled())
