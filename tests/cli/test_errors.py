"""Bad input: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Hsiedge

DATA = Path(__file__).parents[1] / "benchmark" / "data"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A small scene of one's own."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cube.npy", rng.integers(0, 4000, (20, 30, 12), dtype=np.uint16))
    np.save(tmp_path / "labels.npy", np.repeat(np.arange(1, 4), 10)[None, :].repeat(20, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("scenes show nowhere", "no scene is called 'nowhere'"),
        ("scenes show", "name one scene"),
        ("scenes show gone.npy", "no such file"),
        ("scenes pack --cube cube.npy --labels wide.npy", "20 x 30 pixels, its labels 20 x 31 (wide.npy)"),
        ("scenes show --cube nan.npy --labels labels.npy", "NaN or infinite"),
        ("scenes show --cube cut.npy --labels labels.npy", "cannot be read"),
        ("scenes show --cube cut.mat --labels labels.npy", "cut.mat"),
        ("scenes show --cube pack.npz --labels labels.npy --cube-key b", "has no variable 'b'; it has a 20x30x12"),
        ("scenes show --cube pickled.npy", "cannot be read"),
        ("scenes show --cube cube.npy --labels half.npy", "half.npy: its labels are not whole numbers: 0.5 at row 0, column 0"),
        ("scenes show --cube text.mat", "text.mat: cannot be read: it is no .mat file"),
        ("scenes show --cube text.npy", "text.npy: cannot be read (not a .npy file)"),
        (
            "scenes show --cube cube.npy --labels labels.npy --labels labels.npy",
            "--labels: one for each cube was expected: 1, not 2",
        ),
        ("scenes pack --cube cube.npy --labels labels.npy -o labels.npy", "cannot write labels.npy: it is a file that is read"),
        ("scenes fetch nowhere", "salinas_a, ksc, botswana"),
        ("classify model.onnx cube.npy --memory much", "--memory much: not a size"),
        ("eval --scene", "Option '--scene' requires an argument. (see hsiedge eval --help)"),
        ("eval gone.onnx", "no such file"),
        ("eval folder", "folder: a folder; a file is expected"),
        ("show folder.safetensors", "a folder; a file is expected"),
        ("doctor folder", "folder: a folder; a file is expected"),
        ("show model.onnx --json none/card.json", "--json none/card.json: there is no folder none"),
        ("eval model.onnx indian_pines", "indian_pines: a scene of the catalog, and no model; use --scene indian_pines"),
        (
            "eval model.onnx --cube cube.npy --labels labels.npy --split blocks",
            "--split blocks: FILE.py:NAME is expected, a published split of your own",
        ),
        ("classify cube.npy model.onnx", "cube.npy: not a model; the model comes first; hsiedge classify MODEL CUBE"),
        ("classify model.onnx cube.npy --reject 1", "--reject 1: a probability of 0 or more and below 1 was expected"),
        ("eval model.onnx --threads -1", "--threads -1: 0 or more was expected"),
        ("eval garbage.onnx", "not an ONNX file, or cut short"),
        ("eval cube.npy", "not a model"),
        ("show garbage.safetensors", "not a safetensors file"),
        ("bench garbage.onnx", "not an ONNX file, or cut short"),
        ("bench --runtime tflite", "--runtime tflite: choose ort, native, litert, tflm, openvino, torch"),
        ("bench --batch 0", "must be 1 or more"),
        ("bench --batch many", "batch"),
        ("nonsense", "nonsense"),
        ("eval --nonsense", "nonsense"),
    ],
)
def test_device_commands(hsiedge: Hsiedge, own: Path, words: str, says: str) -> None:
    if words.endswith("text.mat"):
        pytest.importorskip("scipy", reason="scipy reads .mat, and is not installed")
    np.save(own / "wide.npy", np.ones((20, 31), np.uint8))
    np.save(own / "half.npy", np.full((20, 30), 0.5))
    np.save(own / "nan.npy", np.full((20, 30, 12), np.nan, np.float32))
    np.save(own / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(own / "pack.npz", a=np.load(own / "cube.npy"))
    (own / "model.onnx").write_bytes((DATA / "float.onnx").read_bytes())
    for name in ("text.mat", "text.npy"):
        (own / name).write_text("words")
    for name in ("folder", "folder.safetensors"):
        (own / name).mkdir()
    (own / "cut.npy").write_bytes((own / "cube.npy").read_bytes()[:900])
    (own / "cut.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b" " * 105 + b"\x00\x01IM" + b"\x0f\x00\x00\x00\xff\xff\x00\x00")
    (own / "garbage.onnx").write_bytes(b"\x08\x07garbage" * 30)
    (own / "garbage.safetensors").write_bytes(pickle.dumps({"a": 1}))
    before = set(own.iterdir())
    assert says in hsiedge(*words.split()).error
    assert set(own.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train nowhere", "no scene is called"),
        ("train", "name one scene"),
        ("train --cube cube.npy", "has no labels"),
        ("train --cube cube.npy --labels labels.npy --net resnet", "no net is called 'resnet'"),
        ("train --cube cube.npy --labels labels.npy --net cnn1d --patch 4", "--patch 4: an odd number of pixels, 1 or more"),
        ("train --cube cube.npy --labels labels.npy --patch -1", "--patch -1: an odd number of pixels, 1 or more"),
        ("train --cube cube.npy --labels labels.npy --patch 21", "patch 21 is wider than cube (20 x 30 pixels)"),
        ("train --cube cube.npy --labels labels.npy --widths 8,x", "whole numbers with commas"),
        ("train --cube cube.npy --labels labels.npy --train-fraction 0.9", "training fraction 0.9"),
        (
            "train --cube cube.npy --labels labels.npy --split stripes",
            "or one that papers use, hong, paoletti; one that has no name here is given as two maps; use --train-mask",
        ),
        ("train --cube cube.npy --labels labels.npy --split blocks --guard 30", "guard"),
        ("train --cube cube.npy --labels labels.npy --guard 6", "--guard 6: a random split keeps no guard; use --split blocks"),
        ("export FILE.py:net --bands 3 --patch 3 --classes 2 -o x.txt", "-o x.txt: a model is written as .onnx"),
        ("train --cube cube.npy --labels labels.npy --split blocks --guard 2", "keeps only 2"),
        ("train --cube cube.npy --labels labels.npy --train-mask labels.npy", "go together"),
        (
            "train --cube cube.npy --labels labels.npy --train-mask labels.npy --test-mask labels.npy",
            "are in the training mask",
        ),
        ("train --cube cube.npy --labels labels.npy -o file/a.safetensors", "cannot write"),
        ("train --cube cube.npy --labels labels.npy --epochs 0", "--epochs 0: 1 or more was expected"),
        ("export gone.safetensors", "no such file"),
        ("export garbage.safetensors", "not a safetensors file"),
        ("quantize gone.onnx", "no such file"),
        (
            "quantize float.onnx --cube cube.npy --labels labels.npy -o float.onnx",
            "cannot write float.onnx: it is a file that is read",
        ),
        ("quantize float.onnx --calib indian_pines", "indian_pines has 200 bands, "),
        ("quantize --calib nowhere", "no scene is called"),
        ("quantize --calib cube.npy", "hsiedge train --cube"),
        ("card float.onnx --patch 9 --cube cube.npy --labels labels.npy", "float.onnx"),
    ],
)
def test_workstation_commands(hsiedge: Hsiedge, own: Path, words: str, says: str) -> None:
    pytest.importorskip("torch", reason="training needs torch")
    (own / "file").write_text("in the way")
    (own / "garbage.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (own / "float.onnx").write_bytes((DATA / "float.onnx").read_bytes())
    before = set(own.iterdir())
    assert says in hsiedge(*words.split()).error
    assert set(own.iterdir()) == before


def test_what_a_strangers_file_says_is_shown_and_not_obeyed(hsiedge: Hsiedge, own: Path) -> None:
    """Names from inside a pack: markup is text, and a path is no path."""
    import dataclasses

    from hsiedge.scenes.pack import pack
    from hsiedge.scenes.scene import Scene

    scene = Scene.open(own / "cube.npy", own / "labels.npy")
    hostile = dataclasses.replace(scene, name="../../evil", classes={1: "a [/x] b", 2: "Water [deep]", 3: "c"})
    pack(hostile, own / "hostile.npz")
    assert "a [/x] b" in hsiedge("scenes", "show", "hostile.npz").out
    assert "Water [deep]" in hsiedge("scenes", "show", "hostile.npz").out
    assert hsiedge("scenes", "pack", "hostile.npz").code == 0
    assert not (own.parent.parent / "evil.npz").exists()
    assert (own / "_.._evil.npz").exists()


def test_outputs_are_tried_before_the_work(hsiedge: Hsiedge, own: Path) -> None:
    (own / "file").write_text("in the way")
    measure = ("bench", DATA / "float.onnx", "--duration", "10m", "--json")
    assert "there is no folder file" in hsiedge(*measure, "file/x.json").error
    assert "cannot write" in hsiedge(*measure, own).error


def test_the_traceback_is_shown_on_request(hsiedge: Hsiedge) -> None:
    assert "Traceback" in hsiedge("eval", "gone.onnx", "--traceback").err
    assert "Traceback" in hsiedge("--traceback", "eval", "gone.onnx").err
    assert "Traceback" not in hsiedge("eval", "gone.onnx").err
    assert "Traceback" not in hsiedge("eval", "gone.onnx", "-v").err


def test_no_network(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "is there a network?" in hsiedge("scenes", "fetch", "salinas_a", "--data-dir", tmp_path / "data").error
    assert not list(tmp_path.glob("data/*"))


def test_a_scene_that_is_not_here_is_downloaded(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="the published files are .mat")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asked = hsiedge("scenes", "show", "salinas", "--data-dir", tmp_path / "data")
    assert "downloading it" in asked.err
    assert "is there a network?" in asked.error


def test_what_could_not_be_read_is_not_downloaded(hsiedge: Hsiedge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "scipy" else known(name, *rest))
    asked = hsiedge("scenes", "show", "salinas", "--data-dir", tmp_path / "data")
    assert "pip install 'hsiedge[mat]'" in asked.error
    assert "scenes pack salinas" in asked.error
    assert "downloading" not in asked.err


def test_a_missing_extra_is_named(hsiedge: Hsiedge, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    (own / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b" " * 200)
    assert "pip install 'hsiedge[mat]'" in hsiedge("scenes", "show", "--cube", "a.mat").error


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("classify model.onnx cube.npy -o map.npy", "cube.npy"),
        ("classify model.onnx cube.npy -o map.npy", "map.npy"),
        ("classify model.onnx envi.hdr -o map.npy", "envi.img"),
        ("classify model.onnx cube.npy -o map.hdr", "map.img"),
        ("classify model.onnx cube.npy -o map.npy --probabilities likely.npy", "./likely.npy"),
        ("classify model.onnx cube.npy -o map.npy --dark dark.npy --white dark.npy", "dark.npy"),
        ("run model.onnx --from replay:cube.npy@1000", "cube.npy"),
        ("run model.onnx --from replay:cube.npy@1000 -o map.npy", "map-drift.npy"),
        ("eval model.onnx --cube cube.npy --labels labels.npy", "labels.npy"),
        ("eval model.onnx --cube cube.npy --labels labels.npy", "model.onnx"),
        ("eval model.onnx --cube cube.npy --labels labels.npy --train-mask a.npy --test-mask b.npy", "b.npy"),
        ("show model.onnx", "model.onnx"),
        ("show model.onnx", "linked.onnx"),
        ("doctor model.onnx", "model.onnx"),
        ("doctor model.onnx --config new.config", "new.config"),
        ("bench model.onnx --seconds 0.01 --runs 1", "model.onnx"),
        ("compare a.json b.json", "b.json"),
        ("try model.onnx --patch 3 --cube cube.npy --labels labels.npy", "cube.npy"),
    ],
)
def test_json_takes_no_other_files_place(hsiedge: Hsiedge, tmp_path: Path, words: str, target: str) -> None:
    if words.startswith("try"):
        pytest.importorskip("onnx_ir", reason="trying a net needs onnx-ir")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cube.npy", rng.integers(0, 1000, (20, 30, 5), np.uint16))
    np.save(tmp_path / "labels.npy", rng.choice(np.array([1, 10, 11, 14], np.uint8), (20, 30)))
    (tmp_path / "envi.hdr").write_text(
        "ENVI\nsamples = 30\nlines = 20\nbands = 5\ndata type = 12\ninterleave = bip\nbyte order = 0\nheader offset = 0\n"
    )
    (tmp_path / "envi.img").write_bytes(np.load(tmp_path / "cube.npy").tobytes())
    (tmp_path / "model.onnx").write_bytes((DATA / "scene.onnx").read_bytes())
    (tmp_path / "linked.onnx").hardlink_to(tmp_path / "model.onnx")
    for name in ("a.json", "b.json", "dark.npy", "a.npy", "b.npy"):
        (tmp_path / name).write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert f"--json {target}: this command reads or writes that file besides" in hsiedge(*words.split(), "--json", target).error
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_configuration_takes_no_models_place(hsiedge: Hsiedge, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes((DATA / "float.onnx").read_bytes())
    assert "it is a file that is read" in hsiedge("doctor", model, "--config", model).error
    assert model.read_bytes() == (DATA / "float.onnx").read_bytes()
