"""Operators that are composed for TFLite: the numbers that onnxruntime gives, in float and as integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the helpers of the other tests need it")
pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")

from onnx import helper

from hsiedge.errors import ModelError
from hsiedge.graphs.tflite.lower import Start, converted, lowered
from hsiedge.runtimes.litert import LitertSession
from tests.graphs import strangers
from tests.graphs.tflite.test_tflite import agree, small

RNG = np.random.default_rng(2)
PATCHES = (2 * RNG.normal(size=(3, 4, 5, 5))).astype(np.float32)


def node(kind: str, inputs: str, outputs: str = "y", **attributes: object):
    return helper.make_node(
        kind, [name.strip("-") for name in inputs.split()], outputs.split(), f"{kind}_{outputs.split()[0]}", **attributes
    )


def erf_gelu(halved: str) -> list:
    first = {
        "last": [node("Mul", "x p", "q"), node("Mul", "q half")],
        "inside": [node("Mul", "x half", "q"), node("Mul", "q p")],
        "before": [node("Mul", "p half", "q"), node("Mul", "x q")],
    }[halved]
    return [node("Div", "x root", "a"), node("Erf", "a", "e"), node("Add", "e one", "p"), *first]


GELU = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
CASES = {
    "PRelu": ([node("PRelu", "x s")], {"s": RNG.normal(size=(4, 1, 1))}),
    "LeakyRelu": ([node("LeakyRelu", "x", alpha=0.3)], {}),
    "Elu": ([node("Elu", "x")], {}),
    "Elu of another alpha": ([node("Elu", "x", alpha=0.5)], {}),
    "Softplus": ([node("Softplus", "x")], {}),
    "Softplus as torch has it": ([node("Greater", "x t", "g"), node("Softplus", "x", "s"), node("Where", "g x s")],
                                 {"t": np.float32(2)}),
    "the lesser of two": ([node("Less", "x t", "g"), node("Where", "g x t")], {"t": RNG.normal(size=(4, 1, 1))}),
    "Mish": ([node("Mish", "x")], {}),
    "SiLU": ([node("Sigmoid", "x", "s"), node("Mul", "x s")], {}),
    "Erf": ([node("Erf", "x")], {}),
    "Gelu, halved last": (erf_gelu("last"), GELU),
    "Gelu, halved inside": (erf_gelu("inside"), GELU),
    "Gelu, halved before": (erf_gelu("before"), GELU),
    "Gelu of opset 20": ([node("Gelu", "x")], {}),
    "Gelu by tanh": ([node("Gelu", "x", approximate="tanh")], {}),
    "LayerNormalization": ([node("LayerNormalization", "x s b", axis=-1)], {"s": RNG.normal(size=5), "b": RNG.normal(size=5)}),
    "LayerNormalization of maps": ([node("LayerNormalization", "x s", axis=1)], {"s": RNG.normal(size=(4, 5, 5))}),
    "Expand": ([node("ReduceMean", "x a", "m"), node("Expand", "m b")], {"a": [2], "b": [1, 4, 5, 5]}),
    "Expand by constants": ([node("ReduceMean", "x a", "m"), node("Mul", "m c")], {"a": [2], "c": RNG.normal(size=(4, 5, 5))}),
    "Split": ([node("Split", "x", "a b", axis=1, num_outputs=2), node("Mul", "b a")], {}),
    "Split in parts": ([node("Split", "x p", "a b", axis=2), node("Concat", "b a", axis=2)], {"p": [2, 3]}),
    "ReduceL2": ([node("ReduceL2", "x a", keepdims=0)], {"a": [1]}),
    "Reciprocal": ([node("Abs", "x", "a"), node("Add", "a s", "e"), node("Reciprocal", "e")], {"s": np.float32(1)}),
    "Softmax inside": ([node("Softmax", "x", "s", axis=2), node("Mul", "s x")], {}),
    "Pow": ([node("Abs", "x", "a"), node("Pow", "a e")], {"e": np.float32(1.5)}),
    "a stack of matrices": ([node("MatMul", "x w")], {"w": RNG.normal(size=(4, 5, 3))}),
    "attention": ([node("Reshape", "x s", "t"), node("Transpose", "t", "u", perm=[0, 2, 1]), node("MatMul", "t u", "k"),
                   node("Softmax", "k", "p"), node("MatMul", "p t")], {"s": [-1, 4, 25]}),
    "both broadcast": ([node("ReduceMean", "x a", "r"), node("ReduceMax", "x b", "c"), node("Add", "r c")],
                       {"a": [2], "b": [3]}),
    "a class token": ([node("Shape", "x", "n"), node("Gather", "n first", "b", axis=0), node("Concat", "b rest", "t", axis=0),
                       node("Expand", "c t", "e"), node("Concat", "e x", axis=1)],
                      {"first": [0], "rest": [2, 5, 5], "c": RNG.normal(size=(1, 2, 5, 5))}),
    "a pool of maps whose third axis is 1": ([node("Unsqueeze", "x a", "u"), node("AveragePool", "u", kernel_shape=[3, 3, 1])],
                                             {"a": [4]}),
    "a pool along three axes": ([node("Unsqueeze", "x a", "u"),
                                 node("MaxPool", "u", kernel_shape=[2, 3, 2], strides=[2, 1, 2])], {"a": [1]}),
    "a mean along three axes": ([node("Unsqueeze", "x a", "u"), node("AveragePool", "u", kernel_shape=[2, 2, 2])], {"a": [1]}),
    "reflected": ([node("Pad", "x p", mode="reflect")], {"p": [0, 2, 0, 0, 0, 1, 0, 3]}),
    "edges": ([node("Pad", "x p", mode="edge")], {"p": [0, 2, 0, -1, 0, 1, 0, 0]}),
    "filled": ([node("Pad", "x p v")], {"p": [0, 2, 0, 0, 0, 1, 0, 3], "v": np.float32(1.5)}),
}  # fmt: skip
REFUSED_AS_INTEGERS = ("filled",)


def model_of(name: str):
    nodes, constants = CASES[name]
    arrays = {
        key: np.array(value, np.int64) if isinstance(value, list) else np.asarray(value, np.float32)
        for key, value in constants.items()
    }
    model = small(*nodes, constants=arrays)
    model.opset_import[0].version = 20
    return model


@pytest.mark.parametrize("name", CASES)
def test_float(name: str, tmp_path: Path) -> None:
    agree(model_of(name), model_of(name), PATCHES, True, tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_integers(name: str, tmp_path: Path) -> None:
    """Within some steps of 8 bits of what onnxruntime gives in float."""
    model = model_of(name)
    inner = [output for entry in model.graph.node for output in entry.output]
    ranges = {"x": (float(PATCHES.min()), float(PATCHES.max()))}
    for value in inner:
        seen = model_of(name)
        seen.graph.output[0].name = value
        seen.graph.output[0].ClearField("type")
        numbers = strangers.run(seen, PATCHES)
        ranges[value] = (float(numbers.min()), float(numbers.max()))
    path, start = tmp_path / "integer.tflite", Start("x", 4, 5, 5, True)
    if name in REFUSED_AS_INTEGERS:
        with pytest.raises(ModelError, match="other than zeros"):
            lowered(model, start, ranges).get_concrete_function()
        return
    path.write_bytes(converted(lowered(model, start, ranges), "int8"))
    session = LitertSession(path, 1)
    ((scale, zero),) = session.scales
    step, shift = session._interpreter.get_output_details()[0]["quantization"]
    quantized = np.clip(np.round(PATCHES.transpose(0, 2, 3, 1) / scale) + zero, -128, 127).astype(np.int8)
    ours = (session.run([quantized]).astype(np.float32) - shift) * step
    theirs = strangers.run(model, PATCHES)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 0.08 * np.ptp(theirs)
