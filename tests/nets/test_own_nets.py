"""A net of the user's own through every command, from a file and from an installed package."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="nets need torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from safetensors.torch import load_file, save_file  # noqa: E402

import hsiedge as he  # noqa: E402
import tests.plugin as plugin  # noqa: E402
from hsiedge import files, nets  # noqa: E402
from hsiedge.card import KEY  # noqa: E402
from hsiedge.cli.app import app  # noqa: E402
from hsiedge.errors import CheckError, ModelError, OptionError  # noqa: E402
from hsiedge.registry import Origin, Registry  # noqa: E402
from hsiedge.runtimes import load, require_card  # noqa: E402
from hsiedge.scenes.pack import pack  # noqa: E402
from hsiedge.scenes.patches import extract  # noqa: E402
from hsiedge.study.config import read_config  # noqa: E402
from hsiedge.training.checkpoint import load_checkpoint  # noqa: E402
from hsiedge.training.classifier import predict_logits  # noqa: E402
from tests import workstation  # noqa: E402

pytestmark = pytest.mark.slow
OWN = "my_nets.py:TwoBlocks"
CORNER = ("--cube", "corner.npz")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corner of Indian Pines, my_nets.py, and a checkpoint of its net: own.safetensors."""
    folder = tmp_path_factory.mktemp("road")
    pack(workstation.corner(64), folder / "corner.npz")
    (folder / "my_nets.py").write_text((plugin.PLUGIN / "example_plugin" / "nets.py").read_text())
    hsiedge(folder, "train", *CORNER, "--net", OWN, "--epochs", "2", "-o", "own.safetensors")
    return folder


def hsiedge(folder: Path, *words: str) -> None:
    """Runs a command in this process, which has imported torch, as if no net of one's own had been named in it before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(nets.NETS, "_files", {})
        patch.setattr(nets.NETS, "_loaded", {})
        app(list(words), standalone_mode=False)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Lets this process know no net but ours until it is told of one: FILE.py:NAME of a folder's."""
    monkeypatch.setattr(nets.NETS, "_files", {})
    monkeypatch.setattr(nets.NETS, "_loaded", {})
    return lambda folder: f"{folder}/{OWN}"


def test_a_checkpoint_tells_where_its_net_comes_from(road: Path) -> None:
    net = require_card(road / "own.safetensors").net
    assert net is not None
    assert (net.name, net.options) == ("TwoBlocks", {})
    assert net.origin == Origin(file="my_nets.py", sha256=files.digest(road / "my_nets.py"))


def test_it_is_exported_and_quantized(road: Path) -> None:
    hsiedge(road, "export", "own.safetensors", *CORNER, "--net", OWN, "--scene-graph", "-o", "scene.onnx")
    hsiedge(road, "export", "own.safetensors", *CORNER, "--net", OWN, "-o", "patch.onnx")
    hsiedge(road, "quantize", "patch.onnx", "--calib", "corner.npz", "--max-drop", "50", "-o", "int8.onnx")
    quantization = require_card(road / "int8.onnx").quantization
    assert quantization is not None
    assert quantization.float_layers == []
    assert quantization.agreement > 90
    assert require_card(road / "scene.onnx").kind == "scene"


@pytest.mark.parametrize(
    ("words", "widths"),
    [
        (("prune", "own.safetensors"), (8, 6)),
        (("prune", "own.safetensors", "--method", "magnitude"), (16, 12)),
        (("distill", "own.safetensors", "--student", OWN, "--widths", "6,4"), (6, 4)),
    ],
)
def test_it_is_made_smaller(words: tuple[str, ...], widths: tuple[int, int], road: Path, own: Callable[[Path], str]) -> None:
    hsiedge(road, *words, *CORNER, "--epochs", "1", "--net", OWN, "-o", "smaller.safetensors")
    loaded = load_checkpoint(road / "smaller.safetensors", net=own(road))
    assert loaded.classifier.net.widths == widths
    before, net = require_card(road / "own.safetensors").net, loaded.card.net
    assert before is not None
    assert net is not None
    assert (net.name, net.origin) == (before.name, before.origin)
    assert loaded.card.lineage[-1].step == words[0]


def test_it_teaches_ours_and_learns_from_ours(road: Path) -> None:
    words = ("--student", "dscnn", "--widths", "8,8", "--method", "features", "--epochs", "1")
    hsiedge(road, "distill", "own.safetensors", *CORNER, "--net", OWN, *words, "-o", "dscnn.safetensors")
    hsiedge(
        road, "distill", "dscnn.safetensors", *CORNER, "--student", OWN, "--patch", "7", "--epochs", "1", "-o", "b.safetensors"
    )
    card = require_card(road / "b.safetensors")
    assert card.net is not None
    assert (card.net.name, card.patch) == ("TwoBlocks", 7)
    assert [step.options.get("teacher") for step in card.lineage if step.step == "distill"] == ["TwoBlocks", "dscnn"]


def test_qat_puts_its_weights_on_the_grid(road: Path, own: Callable[[Path], str]) -> None:
    """Its BatchNorms are called as no net of ours calls them, and one of its convolutions has a bias beside it."""
    hsiedge(road, "qat", "own.safetensors", *CORNER, "--net", OWN, "--epochs", "1", "-o", "qat.safetensors")
    checkpoint, model = load_checkpoint(road / "qat.safetensors", net=own(road)), load(road / "qat.onnx")
    patches = extract(workstation.corner(64).cube, np.arange(0, 64 * 64, 7), checkpoint.card.patch)
    float_labels, labels = (predict_logits(checkpoint.classifier, patches).argmax(1).numpy(), model.logits(patches).argmax(1))
    assert (float_labels == labels).mean() > 0.95
    for norm in (checkpoint.classifier.net.body[1], checkpoint.classifier.net.body[4]):
        assert (norm.running_mean == 0).all()


def test_pytorch_runs_it_without_an_export(road: Path, tmp_path: Path, own: Callable[[Path], str]) -> None:
    torch_runs = ("own.safetensors", "--runtime", "torch", "--net", OWN)
    hsiedge(road, "eval", *torch_runs, *CORNER, "--json", str(tmp_path / "torch.json"))
    hsiedge(road, "export", "own.safetensors", *CORNER, "--net", OWN, "-o", "same.onnx")
    hsiedge(road, "eval", "same.onnx", *CORNER, "--json", str(tmp_path / "onnx.json"))
    scores = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("torch", "onnx")]
    assert scores[0]["confusion"] == scores[1]["confusion"]
    hsiedge(road, "bench", *torch_runs, "--runs", "2", "--seconds", "0.1", "--batch", "1", "--json", str(tmp_path / "b.json"))
    (result,) = json.loads((tmp_path / "b.json").read_text())["results"]
    assert (result["model"], result["runtime"].split()[0]) == ("own.safetensors", "PyTorch")
    cube = workstation.corner(64).cube
    np.save(road / "cube.npy", cube)
    hsiedge(road, "classify", "own.safetensors", "cube.npy", *torch_runs[1:], "-o", "map.npy")
    hsiedge(road, "classify", "same.onnx", "cube.npy", "-o", "onnx.npy")
    assert (np.load(road / "map.npy") == np.load(road / "onnx.npy")).mean() > 0.999
    with pytest.raises(OptionError, match="onnxruntime runs no checkpoint"):
        hsiedge(road, "eval", "same.onnx", *CORNER, "--net", OWN)
    report = he.load(road / "own.safetensors", runtime="torch", net=own(road)).bench(batches=[1], runs=2, seconds=0.1)
    assert report.results[0].runtime.startswith("PyTorch")


def test_compress_starts_from_it(road: Path) -> None:
    words = ("--teacher", "own.safetensors", "--net", OWN, "--max-size", "1MiB", "--max-drop", "100")
    hsiedge(road, "compress", *CORNER, *words, "-o", "compressed.onnx")
    card = require_card(road / "compressed.onnx")
    assert card.net is not None
    assert (card.net.name, card.precision, card.lineage[0].step) == ("TwoBlocks", "int8", "train")


def test_a_study_takes_it(road: Path) -> None:
    (road / "study.toml").write_text(
        'scenes = ["corner.npz"]\nsplits = ["random"]\nseeds = [0]\nepochs = 1\ntuning = 1\n'
        "[nets.TwoBlocks]\nwidths = [8, 8]\n[methods]\nstructured = [0.5]\n"
    )
    hsiedge(road, "study", "study.toml", "--net", OWN, "--measure", "no", "--workers", "1")
    assert len(list((road / "study" / "models").glob("corner-TwoBlocks-*-structured-0.5-*.onnx"))) == 2
    with pytest.raises(OptionError, match=r"nets\.TwoBlocks: no net is called 'TwoBlocks'"):
        hsiedge(road, "study", "study.toml", "-o", "other", "--measure", "no")


def test_a_studys_cells_know_the_file_of_their_net(road: Path, tmp_path: Path, own: Callable[[Path], str]) -> None:
    """A net that was changed is another: its cells are made anew, those of ours are not."""
    (tmp_path / "study.toml").write_text(
        'scenes = ["indian_pines"]\nsplits = ["random"]\nseeds = [0]\n[nets.TwoBlocks]\n[nets.cnn2d]\n'
        '[methods]\nstructured = [0.5]\ndistill = ["TwoBlocks"]\n'
    )
    text = (road / "my_nets.py").read_text()
    keys = []
    for name, content in (("one", text), ("two", text + "\n# changed\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "my_nets.py").write_text(content)
        nets.NETS.name_of(own(tmp_path / name))
        cells = read_config(tmp_path / "study.toml").cells
        keys.append({(cell.net, cell.method): cell.key for cell in cells})
        assert {cell.parent.key for cell in cells} == {cell.key for cell in cells if cell.method == "none"}
        sha256 = files.digest(tmp_path / name / "my_nets.py")
        assert {cell.net: cell.origins for cell in cells if cell.method == "none"} == {
            "TwoBlocks": {"TwoBlocks": sha256},
            "cnn2d": {},
        }
        nets.NETS._files.clear()
        nets.NETS._loaded.clear()
    alike = {cell for cell in keys[0] if keys[0][cell] == keys[1][cell]}
    assert alike == {("cnn2d", "none"), ("cnn2d", "structured")}


class TestTrust:
    """Nothing that lies in a file makes hsiedge run code."""

    def test_a_checkpoint_alone_runs_nothing(self, road: Path, own: Callable[[Path], str]) -> None:
        with pytest.raises(ModelError, match=r"its net, TwoBlocks of my_nets\.py, is not here; .*FILE\.py:TwoBlocks"):
            load_checkpoint(road / "own.safetensors")
        assert load_checkpoint(road / "own.safetensors", net=own(road)).card.net is not None
        with pytest.raises(ModelError, match="is not here"):
            hsiedge(road, "export", "own.safetensors", *CORNER, "-o", "no.onnx")

    def test_nor_does_a_card_that_names_a_file(self, road: Path, tmp_path: Path, own: Callable[[Path], str]) -> None:
        (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()\nclass Net: pass\n")
        card = require_card(road / "own.safetensors")
        assert card.net is not None
        for name in (f"{tmp_path}/evil.py:Net", "os:system", "evil.Net"):
            changed = dataclasses.replace(card, net=dataclasses.replace(card.net, name=name, origin=Origin(file="evil.py")))
            save_file(load_file(road / "own.safetensors"), tmp_path / "a.safetensors", {KEY: changed.to_json()})
            with pytest.raises(ModelError, match="is not here"):
                load_checkpoint(tmp_path / "a.safetensors")
        assert not (tmp_path / "was-run").exists()

    def test_a_file_that_was_changed_is_told_of(self, road: Path, tmp_path: Path, own: Callable[[Path], str]) -> None:
        (tmp_path / "my_nets.py").write_text((road / "my_nets.py").read_text() + "\n# changed\n")
        with pytest.warns(UserWarning, match=r"was trained with the TwoBlocks of my_nets\.py; my_nets\.py has changed since"):
            load_checkpoint(road / "own.safetensors", net=own(tmp_path))

    def test_a_net_of_another_name_does_not_help(self, road: Path, tmp_path: Path, own: Callable[[Path], str]) -> None:
        (tmp_path / "my_nets.py").write_text((road / "my_nets.py").read_text().replace("TwoBlocks", "Other"))
        with pytest.raises(ModelError, match=r"its net, TwoBlocks of my_nets\.py, is not here"):
            load_checkpoint(road / "own.safetensors", net=f"{tmp_path}/my_nets.py:Other")


def test_one_that_fails_its_check_is_not_trained(road: Path) -> None:
    text = (road / "my_nets.py").read_text()
    (road / "faulty.py").write_text(
        text.replace("widths: Sequence", "sizes: Sequence").replace("second = widths", "second = sizes")
    )
    with pytest.raises(
        CheckError, match=r"net TwoBlocks: TwoBlocks on 200 bands, patch 5: .*unexpected keyword argument 'widths'"
    ):
        hsiedge(road, "train", *CORNER, "--net", "faulty.py:TwoBlocks", "-o", "no.safetensors")
    assert not (road / "no.safetensors").exists()


def test_python_checks_and_opens_it_too(road: Path, own: Callable[[Path], str]) -> None:
    text = (road / "my_nets.py").read_text().replace("widths: Sequence", "sizes: Sequence")
    (road / "misnamed.py").write_text(text.replace("second = widths", "second = sizes"))
    with pytest.raises(CheckError, match=r"net TwoBlocks: .*unexpected keyword argument 'widths'"):
        he.train(workstation.corner(64), net=f"{road}/misnamed.py:TwoBlocks", epochs=1)
    nets.NETS._files.clear()
    nets.NETS._loaded.clear()
    checkpoint = he.Checkpoint.open(road / "own.safetensors", net=own(road))
    assert type(checkpoint.classifier.net).__name__ == "TwoBlocks"


def test_an_installed_net_needs_no_file(road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        points = "[hsiedge.nets]\ntwo_blocks = example_plugin.nets:TwoBlocks\n"
        patch.syspath_prepend(plugin.install(tmp_path / "site", entry_points=points))
        patch.setattr(nets.NETS, "_installed", Registry("hsiedge.nets", "net", {}, lambda value: value)._installed)
        hsiedge(road, "train", *CORNER, "--net", "two_blocks", "--epochs", "1", "-o", "b.safetensors")
        hsiedge(road, "export", "b.safetensors", *CORNER, "-o", "b.onnx")
    net = require_card(road / "b.onnx").net
    assert net is not None
    assert (net.name, net.origin) == ("two_blocks", Origin(distribution="example-plugin 1.0"))
    reason = r"its net, two_blocks of example-plugin 1\.0, is not here; install example-plugin 1\.0"
    with pytest.raises(ModelError, match=reason):
        load_checkpoint(road / "b.safetensors")
