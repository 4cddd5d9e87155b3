"""What the device wing imports, what `--help` does not, and what the package exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hsiedge

DATA = Path(__file__).parents[1] / "benchmark" / "data"
HEAVY = ("torch", "onnx", "tensorflow", "onnxscript", "matplotlib", "tensorly")
PROBE = """
import json, sys
sys.argv = ["hsiedge", *json.loads(sys.argv[1])]
from hsiedge.cli.main import main
try:
    main()
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def imported_by(*words: str, folder: Path) -> set[str]:
    """The packages that a clean interpreter has imported once the command is done."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert not code, done.stderr
    return set(names)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["bench", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    assert not imported_by(*words, folder=tmp_path) & {"numpy", "onnxruntime", "scipy", "psutil", *HEAVY}


def test_nothing_is_looked_through_at_the_end(tmp_path: Path) -> None:
    """What a command has imported is no garbage: Python would take as long again to find that out."""
    ending = (
        "import atexit, gc, sys; from hsiedge.__main__ import main; sys.argv = ['hsiedge', '--version'];"
        "atexit.register(lambda: print(gc.get_freeze_count(), len(gc.get_objects()))); main()"
    )
    done = subprocess.run([sys.executable, "-c", ending], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    frozen, left = map(int, done.stdout.split()[-2:])
    assert frozen > 10 * left


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["scenes", "list"],
        ["scenes", "show", "tiny.npz"],
        ["show", "float.onnx"],
        ["doctor"],
        ["doctor", "int8.onnx"],
        ["bench", "float.onnx", "int8.onnx", "--seconds", "0.1", "--runs", "2", "--ops"],
        ["bench", "float.onnx", "--runtime", "all", "--seconds", "0.1", "--runs", "2"],
        ["run", "float.onnx", "--from", "replay:tiny.npz@9999", "-o", "map.hdr"],
        ["classify", "float.onnx", "tiny.npz", "--dark", "dark.npy", "--white", "white.npy", "--units", "stored"],
        ["bench", "float.onnx", "--runtime", "ort", "--provider", "cpu", "--seconds", "0.1", "--runs", "2"],
    ],
)
def test_device_commands_import_neither_torch_nor_onnx(words: list[str], tmp_path: Path, tiny_scene: hsiedge.Scene) -> None:
    from hsiedge.scenes.pack import pack

    pack(tiny_scene, tmp_path / "tiny.npz")
    np.save(tmp_path / "dark.npy", np.zeros((2, 30, 5), np.uint16))
    np.save(tmp_path / "white.npy", np.full((2, 30, 5), 4000, np.uint16))
    for name in ("float.onnx", "int8.onnx"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    assert not imported_by(*words, folder=tmp_path) & set(HEAVY)


@pytest.mark.slow
def test_evaluating_imports_neither_torch_nor_onnx(tmp_path: Path) -> None:
    pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")
    from hsiedge.shipped import shipped

    packages = imported_by("eval", str(shipped("-int8.onnx")), "--json", "a.json", folder=tmp_path)
    assert not packages & set(HEAVY)
    assert json.loads((tmp_path / "a.json").read_text())["n"] == 8708


@pytest.mark.slow
def test_quantizing_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="quantizing needs onnx")
    pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")
    assert not imported_by("quantize", folder=tmp_path) & {"torch", "tensorflow", "onnxscript"}
    assert (tmp_path / "indian_pines-cnn2d-random-s0-int8.onnx").exists()


def test_public_api() -> None:
    names = ["Card", "LineClassifier", "Scene", "Split", "bench", "classify", "evaluate", "load", "quantize"]
    assert set(names) <= set(hsiedge.__all__)  # those of 0.1.0; tests/api pins all of them
    for name in set(names) - {"quantize"}:
        assert callable(getattr(hsiedge, name))
    with pytest.raises(AttributeError):
        hsiedge.nothing  # noqa: B018


def test_public_api_quantize() -> None:
    pytest.importorskip("onnx", reason="quantizing needs onnx")
    assert callable(hsiedge.quantize)


def test_shipped_models_are_small_and_whole() -> None:
    from hsiedge.runtimes import require_card
    from hsiedge.shipped import shipped

    paths = [shipped(suffix) for suffix in (".safetensors", ".onnx", "-int8.onnx")]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    cards = [require_card(path) for path in paths]
    assert {card.scene.name for card in cards} == {"indian_pines"}
    from hsiedge import files

    assert cards[1].lineage[-1].parent == files.digest(paths[0])
    assert cards[2].lineage[-1].parent == files.digest(paths[1])
    assert paths[2].stat().st_size <= 0.35 * paths[1].stat().st_size
