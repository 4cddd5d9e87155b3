"""What all tests share: an empty cache, the real scenes, and models small enough to be worked out by hand."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.card import KEY, Card, ClassFacts, SceneFacts
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from tests import browser
from tests.once import session_folder

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what runs in the background; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: before torch or a BLAS counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.set_threshold(100_000, 20, 20)  # a worker holds PyTorch and TensorFlow: looking through them is dear, and finds nothing

try:
    from hypothesis import settings
except ImportError:  # the device wing's tests run without it
    pass
else:
    settings.register_profile("hsiedge", deadline=None, database=None, derandomize=True)
    settings.load_profile("hsiedge")

IDS = (1, 10, 11, 14)  # with gaps, as in Salinas-A
BANDS = 5


_LANES = {"building": "container", "server": "sshd", "tab": "browser", "double": "slow"}
"""The marker of a test that takes one of these fixtures."""
_LOADS_MUCH = re.compile(
    r"""^(import|from)\ (torch|tensorflow)\b
      | ^(\w+\ =\ )?pytest\.importorskip\("(torch|tensorflow|distributed)"
      | ^from\ tests.*\ import\ .*workstation""",
    re.MULTILINE | re.VERBOSE,
)
_LONGEST = ("arm", "docker", "study/test_study_run.py", "compression", "remote", "cli", "graphs")
"""Files and folders whose tests come first, so that no worker is left alone with them in the end."""


@functools.cache
def _loads_much(path: Path) -> bool:
    """True for a file of tests whose import alone takes seconds: that of torch, TensorFlow or Dask."""
    return bool(_LOADS_MUCH.search(path.read_text()))


def _place(item: pytest.Item) -> int:
    """The place of a test's file in _LONGEST."""
    file = item.path.relative_to(Path(__file__).parent)
    return next((i for i, name in enumerate(_LONGEST) if file.is_relative_to(name)), len(_LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main() -> Iterator[None]:
    with session_folder():
        return (yield)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, what is slow to import is not imported either."""
    quick = re.match(r"not \(?slow\b", config.option.markexpr)
    return True if quick and collection_path.suffix == ".py" and _loads_much(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "arm" in item.path.relative_to(Path(__file__).parent).parts:
            item.add_marker("board")
        for fixture, lane in _LANES.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(lane)
        if _loads_much(item.path):
            item.add_marker("slow")
    items.sort(key=_place)


def pytest_collection_finish() -> None:
    """What all tests import is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how many tests of which folders each lane ran, and their seconds."""
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    tests: dict[tuple[str, str], set[str]] = defaultdict(set)
    for report in itertools.chain(*terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport) and not report.skipped:
            lane = next((name for name in ("board", "release", *_LANES.values()) if name in report.keywords), "quick")
            folder = "/".join(Path(report.nodeid.split("::")[0]).parts[:2])
            seconds[lane][folder] += report.duration
            tests[lane, folder].add(report.nodeid)
    for lane, folders in sorted(seconds.items()):
        parts = [f"{folder} {len(tests[lane, folder])} ({took:.0f} s)" for folder, took in sorted(folders.items())]
        count = sum(len(tests[lane, folder]) for folder in folders)
        terminalreporter.write_line(f"{lane}: {count} tests, {sum(folders.values()):.0f} s: {', '.join(parts)}")


@pytest.fixture(autouse=True, scope="session")
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the scenes that a user has fetched, or leaves one there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HSIEDGE_DATA", raising=False)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data that lies beside the checkout."""
    folder = Path(os.environ.get("HSIEDGE_SHARED") or Path(__file__).parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs ../shared, which is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def indian_pines() -> Scene:
    """The real one, whole."""
    pytest.importorskip("tensorly", reason="tensorly carries Indian Pines, and is not installed")
    return open_scene("indian_pines")


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Page]:
    """An open page of a real browser."""
    if browser.CHROMIUM is None:
        pytest.skip("a page is tested in Chromium; on Debian: apt-get install chromium fonts-dejavu-core")
    with browser.browser() as page:
        yield page


@pytest.fixture
def tiny_scene() -> Scene:
    """40 x 30 pixels, five bands, the classes 1, 10, 11, 14 in patches with unlabelled ones between, without dice."""
    rows, columns = np.mgrid[0:40, 0:30]
    labels = np.array((0, *IDS), np.uint16)[(rows // 8 + 3 * (columns // 6)) % 5]
    counts = (rows[..., None] * 131 + columns[..., None] * 71 + np.arange(BANDS) * 977 + labels[..., None] * 53) % 1000
    return Scene("tiny", counts.astype(np.uint16), labels, {label: f"class {label}" for label in IDS})


def card_for(scene: Scene, patch: int, **changes: Any) -> Card:
    """A Card of a patch graph for `scene`."""
    facts = SceneFacts(scene.name, scene.sha256, None, scene.bands, str(scene.cube.dtype))
    classes = [ClassFacts(label, title) for label, title in scene.classes.items()]
    values = {
        "kind": "patch",
        "scene": facts,
        "classes": classes,
        "patch": patch,
        "created": "2026-01-01T00:00:00.000000+00:00",
    }
    return Card(**{**values, **changes})


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Writes a real ONNX model, one convolution over the patch, its Card inside; gives its path and weights `(c, b, p, p)`.

    `card` may be a Card, any text in its place, or None.
    """
    onnx = pytest.importorskip("onnx", reason="onnx makes the models of this test, and is not installed")

    def make(card: Card | str | None, patch: int = 3, bands: int = BANDS, outputs: int = len(IDS)) -> tuple[Path, np.ndarray]:
        weights = np.random.default_rng(patch).normal(0, 1, (outputs, bands, patch, patch)).astype(np.float32)
        weights -= weights.mean((1, 2, 3), keepdims=True)
        nodes = [
            onnx.helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Conv", ["f", "w"], ["m"]),
            onnx.helper.make_node("Flatten", ["m"], ["y"]),
        ]
        graph = onnx.helper.make_graph(
            nodes,
            "tiny",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT16, ["N", bands, patch, patch])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", outputs])],
            [onnx.numpy_helper.from_array(weights, "w")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        if card is not None:
            onnx.helper.set_model_props(model, {KEY: card.to_json() if isinstance(card, Card) else card})
        onnx.checker.check_model(model)
        path = tmp_path / f"tiny{len(list(tmp_path.glob('*.onnx')))}.onnx"
        onnx.save(model, str(path))
        return path, weights

    return make


@pytest.fixture
def make_card() -> Callable[..., Card]:
    return card_for


@pytest.fixture
def make_scene_model(tmp_path: Path) -> Callable[..., Path]:
    """The same for scene graphs, `(1, b, H + p - 1, W + p - 1) -> (1, c, H, W)`, with the weights of the patch graph."""
    onnx = pytest.importorskip("onnx", reason="onnx makes the models of this test, and is not installed")

    def make(card: Card, patch: int = 3, bands: int = BANDS, outputs: int = len(IDS)) -> Path:
        weights = np.random.default_rng(patch).normal(0, 1, (outputs, bands, patch, patch)).astype(np.float32)
        weights -= weights.mean((1, 2, 3), keepdims=True)
        graph = onnx.helper.make_graph(
            [
                onnx.helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Conv", ["f", "w"], ["y"]),
            ],
            "tiny",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT16, [1, bands, "rows", "columns"])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, outputs, "height", "width"])],
            [onnx.numpy_helper.from_array(weights, "w")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        onnx.helper.set_model_props(model, {KEY: dataclasses.replace(card, kind="scene").to_json()})
        path = tmp_path / f"scene{len(list(tmp_path.glob('*.onnx')))}.onnx"
        onnx.save(model, str(path))
        return path

    return make
