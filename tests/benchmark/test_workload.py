from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.benchmark.workload import ShapeOption, fixed_batch, parse_shape, workload
from hsiedge.card import Card
from hsiedge.errors import ModelError, OptionError
from hsiedge.mapping import classify
from hsiedge.runtimes import load, require_card
from hsiedge.scenes.patches import cut, extract

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def card() -> Card:
    return require_card(DATA / "float.onnx")


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "uint8"])
@pytest.mark.parametrize(("count", "patch"), [(1, 1), (1, 5), (7, 5), (4, 1)])
def test_cut_equals_the_scenes_own_patches(dtype: str, count: int, patch: int) -> None:
    rows = np.random.default_rng(0).integers(0, 100, (patch, count + patch - 1, 3)).astype(dtype)
    centres = patch // 2 * rows.shape[1] + patch // 2 + np.arange(count)
    result = cut(rows.transpose(2, 0, 1), patch)
    assert result.dtype == rows.dtype
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, extract(rows, centres, patch))


@pytest.mark.parametrize("name", ["float.onnx", "int8.onnx"])
@pytest.mark.parametrize("batch", [1, 9])
def test_a_run_gives_the_label_ids_that_the_model_gives(name: str, batch: int) -> None:
    model = load(DATA / name, 1)
    work = workload(model, batch)
    assert (work.kind, work.batch, work.shape, work.dtype, work.pixels) == ("patch", batch, (batch, 5, 3, 3), "uint16", batch)
    rows = work.make(np.random.default_rng(0))
    assert [(tensor.shape, tensor.dtype) for tensor in rows] == [((3, batch + 2, 5), np.uint16)]
    labels = work.run(rows)
    np.testing.assert_array_equal(labels, model.labels(cut(rows[0].transpose(2, 0, 1), 3)))
    assert set(labels.tolist()) <= {1, 10, 11, 14}


def test_different_inputs_give_different_labels() -> None:
    work = workload(load(DATA / "float.onnx", 1), 256)
    assert len(set(work.run(work.make(np.random.default_rng(0))).tolist())) > 1


def test_scene_graph_labels_what_lies_within_its_border() -> None:
    model = load(DATA / "scene.onnx", 1)
    work = workload(model, 256, [ShapeOption(None, (1, 5, 8, 12))])
    assert (work.kind, work.batch, work.shape, work.pixels) == ("scene", 1, (1, 5, 8, 12), 60)
    rows = work.make(np.random.default_rng(0))
    assert rows[0].shape == (6, 10, 5)
    logits = work.logits(rows)
    assert logits.shape == (4, 6, 10)
    whole, patches = np.pad(rows[0], ((1, 1), (1, 1), (0, 0)), mode="reflect"), workload(load(DATA / "float.onnx", 1), 10)
    np.testing.assert_array_equal(model.label_ids(logits, axis=0)[0], patches.run((whole[:3],)))
    np.testing.assert_array_equal(logits, work.logits(rows))
    assert workload(model, 1).pixels == 128 * 128


def test_a_scene_graph_is_timed_at_any_width() -> None:
    work = workload(load(DATA / "scene.onnx", 1), 1, [ShapeOption(None, (1, 5, 3, 3))])
    assert work.run(work.make(np.random.default_rng(0))).shape == (1, 1)


def test_a_run_of_a_scene_graph_goes_on_from_the_run_before() -> None:
    """As `classify` and `LineClassifier` do: rows that were pushed before surround those that come."""
    model = load(DATA / "scene.onnx", 1)
    work = workload(model, 1, [ShapeOption(None, (1, 5, 8, 12))])
    rng = np.random.default_rng(0)
    pieces = [work.make(rng) for _ in range(3)]
    labels = np.concatenate([work.run(piece) for piece in pieces])
    rows = np.concatenate([piece[0] for piece in pieces])
    np.testing.assert_array_equal(labels[2:], classify(model, rows)[1:-1])


def test_stranger_with_two_inputs() -> None:
    model = load(DATA / "stranger.onnx", 1)
    work = workload(model, 4, [ShapeOption("a", (1, 3, 6))])
    a, b = work.make(np.random.default_rng(0))
    assert (a.shape, a.dtype, b.shape, b.dtype) == ((4, 3, 6), np.float32, (4, 3), np.int64)
    np.testing.assert_allclose(work.run((a, b)), a.sum(2) + b, rtol=1e-6)
    assert (work.kind, work.pixels) == ("tensor", 4)
    assert workload(model, 4, [ShapeOption(None, (4, 3, 6))]).shape == (4, 3, 6)


@pytest.mark.parametrize(
    ("name", "shapes", "error", "says"),
    [
        ("stranger.onnx", [], OptionError, r"input a is \?x3x\?: its free dimension 2 needs a size; use shapes=a="),
        ("stranger.onnx", [ShapeOption("a", (1, 4, 6))], OptionError, "shapes: .*: dimension 1 is 3, the shape given says 4"),
        ("stranger.onnx", [ShapeOption("a", (8, 3, 6))], OptionError, "use batches=8"),
        ("stranger.onnx", [ShapeOption("a", (1, 3))], OptionError, "has 3 dimensions"),
        ("stranger.onnx", [ShapeOption("q", (1, 3))], OptionError, "no such input, but a, b"),
        ("float.onnx", [ShapeOption(None, (1, 5, 7, 7))], OptionError, "shapes: .*: dimension 2 is 3, the shape given says 7"),
        ("scene.onnx", [ShapeOption(None, (1, 5, 2, 9))], OptionError, "leaves nothing"),
        ("other_bands.onnx", [], ModelError, "input x is .x5x3x3, its Card says Nx5x5x5"),
    ],
)
def test_shapes_that_do_not_fit(name: str, shapes: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        workload(load(DATA / name, 1), 2, shapes)


def test_fixed_batch() -> None:
    result = {
        name: fixed_batch(load(DATA / f"{name}.onnx", 1)) for name in ("float", "float_batch1", "scene", "stranger", "hungry")
    }
    assert result == {"float": None, "float_batch1": 1, "scene": 1, "stranger": None, "hungry": 1}


def test_parse_shape() -> None:
    assert parse_shape("1,200,13,13") == ShapeOption(None, (1, 200, 13, 13))
    assert parse_shape("in=put=1, 2") == ShapeOption("in=put", (1, 2))
    for text in ("", "1,x", "1,0", "=1,2", "a=", "1,-2"):
        with pytest.raises(OptionError, match=r"shapes.*: not a shape"):
            parse_shape(text)


def test_pool_holds_several_inputs_but_not_too_many_bytes() -> None:
    work = workload(load(DATA / "float.onnx", 1), 1)
    assert work.pool_size((np.zeros(10),)) == 8
    assert work.pool_size((np.zeros(16 << 20, np.uint8),)) == 4
    assert work.pool_size((np.zeros(100 << 20, np.uint8),)) == 2
