"""Digests of what scene_graph/, preprocessing/ and tflite/ make of stored graphs; run as a module, it renews digests.json.

The graphs in `stored/` were exported from the nets and the strangers of the tests. They keep shapes and whole numbers alone:
float weights are drawn anew, alike on every machine. `VARIANTS` are written by hand, one operator and opset each.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from hsiedge.errors import ModelError
from hsiedge.graphs.onnx_io import name_nodes

DATA = Path(__file__).parent / "stored"
DIGESTS = DATA / "digests.json"
STORED = sorted(path.stem for path in DATA.glob("*.onnx"))
BANDS, PATCH = 6, 5
Digest = dict[str, Any]


def stored(name: str) -> onnx.ModelProto:
    """A graph of `stored/`, its weights drawn between 0.5 and 1.5."""
    model = onnx.load(DATA / f"{name}.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and not tensor.raw_data:
            tensor.CopyFrom(numpy_helper.from_array(weights(f"{name}/{tensor.name}", *tensor.dims), tensor.name))
    return name_nodes(model)


def weights(name: str, *shape: int) -> np.ndarray:
    return (0.5 + np.random.default_rng(zlib.crc32(name.encode())).random(shape)).astype(np.float32)


def node(kind: str, *inputs: str, out: str = "y", **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [out], name=f"the {kind} of {out}", **attributes)


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


Variant = tuple[int, int, list[onnx.NodeProto], dict[str, Any]]
_CONV, _AROUND = {"w": (7, 6, 3, 3), "b": (7,)}, {"pads": [1, 0, 1, 0]}
_FLAT = [node("Reshape", "x", "s", out="f"), node("Reshape", "g", "t")]
_ROWS = {"s": ints(-1, 150), "t": ints(-1, 8, 1, 1)}
VARIANTS: dict[
    str, Variant
] = {  # opset, channels of y, nodes from x (N, 6, 5, 5) to y (N, channels, ...), constants or their shapes
    "squeeze-11": (11, 6, [node("Unsqueeze", "x", out="u", axes=[2]), node("Squeeze", "u", axes=[-3])], {}),
    "squeeze-13": (13, 6, [node("Unsqueeze", "x", "a", out="u"), node("Squeeze", "u", "a")], {"a": ints(-3)}),
    "squeeze-all": (18, 6, [node("Unsqueeze", "x", "a", out="u"), node("Squeeze", "u")], {"a": ints(2)}),
    "unsqueeze-two": (18, 6, [node("Unsqueeze", "x", "a", out="u"), node("Squeeze", "u", "a")], {"a": ints(1, -1)}),
    "slice-9": (9, 4, [node("Slice", "x", axes=[1, 3], starts=[1, 0], ends=[5, -1])], {}),
    "slice-13": (13, 3, [node("Slice", "x", "a", "b", "c", "d")], {"a": ints(0), "b": ints(2**31), "c": ints(1), "d": ints(2)}),
    "slice-no-axes": (13, 6, [node("Slice", "x", "a", "b")], {"a": ints(0, 0, 1), "b": ints(99, 99, 5)}),
    "slice-back": (
        13,
        6,
        [node("Slice", "x", "a", "b", "c", "d")],
        {"a": ints(-1), "b": ints(-99), "c": ints(1), "d": ints(-1)},
    ),
    "reduce-mean-11": (11, 6, [node("ReduceMean", "x", axes=[-1])], {}),
    "reduce-mean-18": (18, 6, [node("ReduceMean", "x", "a")], {"a": ints(2, 3)}),
    "reduce-max-13": (13, 6, [node("ReduceMax", "x", axes=[2, 3])], {}),
    "reduce-max-18": (18, 1, [node("ReduceMax", "x", "a")], {"a": ints(1)}),
    "reduce-sum-11": (11, 6, [node("ReduceSum", "x", axes=[2, 3], keepdims=1)], {}),
    "reduce-sum-13": (
        13,
        6,
        [node("ReduceSum", "x", "a", out="r", keepdims=0), node("Unsqueeze", "r", "b")],
        {"a": ints(3), "b": ints(3)},
    ),
    "reduce-all": (18, 1, [node("ReduceMean", "x")], {}),
    "global-max": (18, 6, [node("GlobalMaxPool", "x")], {}),
    "clip-6": (6, 6, [node("Clip", "x", min=0.0, max=6.0)], {}),
    "clip-13": (13, 6, [node("Clip", "x", "", "h")], {"h": np.float32(6)}),
    "clip-relu6": (13, 6, [node("Clip", "x", "l", "h")], {"l": np.float32(0), "h": np.float32(6)}),
    "pad-2": (9, 6, [node("Pad", "x", pads=[0, 0, 0, 0, 0, 0, 0, 0])], {}),
    "pad-11": (11, 9, [node("Pad", "x", "p")], {"p": ints(0, 1, 0, 0, 0, 2, 0, 0)}),
    "pad-18-axes": (18, 9, [node("Pad", "x", "p", "", "a")], {"p": ints(1, 2), "a": ints(1)}),
    "pad-places": (18, 6, [node("Pad", "x", "p")], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "pad-value": (13, 9, [node("Pad", "x", "p", "v")], {"p": ints(0, 1, 0, 0, 0, 2, 0, 0), "v": np.float32(1)}),
    "pad-reflect": (13, 6, [node("Pad", "x", "p", mode="reflect")], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
    "conv": (18, 7, [node("Conv", "x", "w", "b")], _CONV),
    "conv-valid": (18, 7, [node("Conv", "x", "w", "b", auto_pad="VALID")], _CONV),
    "conv-same-upper": (18, 7, [node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])], _CONV),
    "conv-same-lower": (18, 7, [node("Conv", "x", "w", "b", auto_pad="SAME_LOWER")], {"w": (7, 6, 2, 2), "b": (7,)}),
    "conv-pads": (18, 7, [node("Conv", "x", "w", "b", **_AROUND)], _CONV),
    "conv-groups": (18, 8, [node("Conv", "x", "w", group=2, dilations=[2, 1], strides=[1, 2])], {"w": (8, 3, 2, 2)}),
    "conv-constant-node": (
        18,
        2,
        [node("Constant", out="w", value=numpy_helper.from_array(weights("w", 2, 6, 1, 1))), node("Conv", "x", "w")],
        {},
    ),
    "conv-computed-weights": (18, 7, [node("Relu", "w", out="v"), node("Conv", "x", "v")], _CONV),
    "conv-from-input": (
        18,
        7,
        [node("ReduceMean", "x", "a", out="m"), node("Mul", "m", "w", out="v"), node("Conv", "x", "v")],
        {"w": (7, 6, 1, 1), "a": ints(0, 1, 2, 3)},
    ),
    "max-pool": (18, 6, [node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 1])], {}),
    "max-pool-same": (18, 6, [node("MaxPool", "x", kernel_shape=[3, 3], auto_pad="SAME_UPPER")], {}),
    "max-pool-dilated": (18, 6, [node("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 3])], {}),
    "max-pool-ceil": (18, 6, [node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}),
    "average-pool": (18, 6, [node("AveragePool", "x", kernel_shape=[2, 2], strides=[1, 2])], {}),
    "average-pool-pads": (18, 6, [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], {}),
    "gemm": (
        18,
        8,
        [_FLAT[0], node("Gemm", "f", "w", "b", out="g", alpha=0.5, beta=2.0), _FLAT[1]],
        {"w": (150, 8), "b": (1, 8), **_ROWS},
    ),
    "gemm-transposed": (
        18,
        8,
        [_FLAT[0], node("Gemm", "f", "w", "b", out="g", transB=1), _FLAT[1]],
        {"w": (8, 150), "b": (1,), **_ROWS},
    ),
    "gemm-first-transposed": (
        18,
        8,
        [_FLAT[0], node("Transpose", "f", out="h"), node("Gemm", "h", "w", out="g", transA=1), _FLAT[1]],
        {"w": (150, 8), **_ROWS},
    ),
    "mat-mul": (18, 8, [_FLAT[0], node("MatMul", "f", "w", out="g"), _FLAT[1]], {"w": (150, 8), **_ROWS}),
    "mat-mul-bands": (
        18,
        8,
        [
            node("Transpose", "x", out="t", perm=[0, 2, 3, 1]),
            node("MatMul", "t", "w", out="m"),
            node("Transpose", "m", perm=[0, 3, 1, 2]),
        ],
        {"w": (6, 8)},
    ),
    "mat-mul-constant-first": (18, 6, [node("MatMul", "w", "x")], {"w": (5, 5)}),
    "flatten": (
        18,
        8,
        [node("Flatten", "x", out="f"), node("MatMul", "f", "w", out="g"), _FLAT[1]],
        {"w": (150, 8), "t": _ROWS["t"]},
    ),
    "flatten-back": (
        18,
        8,
        [node("Flatten", "x", out="f", axis=-3), node("MatMul", "f", "w", out="g"), _FLAT[1]],
        {"w": (150, 8), "t": _ROWS["t"]},
    ),
    "reshape-zero": (18, 6, [node("Reshape", "x", "s")], {"s": ints(0, 6, 0, -1)}),
    "reshape-merge": (
        18,
        6,
        [node("Reshape", "x", "s", out="f"), node("Reshape", "f", "t")],
        {"s": ints(0, 6, 25), "t": ints(0, 6, 5, 5)},
    ),
    "split-11": (11, 2, [helper.make_node("Split", ["x"], ["y", "z"], axis=1, split=[2, 4])], {}),
    "split-13": (13, 2, [helper.make_node("Split", ["x", "s"], ["y", "z"], axis=1)], {"s": ints(2, 4)}),
    "split-18": (18, 2, [helper.make_node("Split", ["x"], ["y", "z", "v"], axis=1, num_outputs=3)], {}),
    "dropout-7": (7, 6, [node("Dropout", "x", ratio=0.5)], {}),
    "dropout-13": (13, 6, [node("Dropout", "x", "r")], {"r": np.float32(0.5)}),
    "batch-norm": (15, 6, [node("Relu", "x", out="r"), node("BatchNormalization", "r", *"abcd")], dict.fromkeys("abcd", (6,))),
    "batch-norm-first": (15, 6, [node("BatchNormalization", "x", *"abcd", epsilon=0.1)], dict.fromkeys("abcd", (6,))),
    "batch-norm-training": (
        15,
        6,
        [helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "m", "v"], training_mode=1)],
        dict.fromkeys("abcd", (6,)),
    ),
    "softmax": (13, 6, [node("Softmax", "x", axis=1)], {}),
    "softmax-default": (13, 6, [node("Softmax", "x")], {}),
    "log-softmax": (13, 6, [node("LogSoftmax", "x", axis=-3)], {}),
    "leaky-relu": (16, 6, [node("LeakyRelu", "x")], {}),
    "leaky-relu-alpha": (16, 6, [node("LeakyRelu", "x", alpha=0.25)], {}),
    "elu": (13, 6, [node("Elu", "x", alpha=0.5)], {}),
    "hard-sigmoid": (13, 6, [node("HardSigmoid", "x")], {}),
    "hard-sigmoid-alpha": (13, 6, [node("HardSigmoid", "x", alpha=1 / 6, beta=0.25)], {}),
    "hard-swish": (14, 6, [node("HardSwish", "x")], {}),
    "gelu": (20, 6, [node("Gelu", "x", approximate="tanh")], {}),
    "p-relu": (16, 6, [node("PRelu", "x", "a")], {"a": (6, 1, 1)}),
    "pow": (15, 6, [node("Pow", "x", "a")], {"a": np.float32(2)}),
    "max": (13, 6, [node("Max", "x", "a")], {"a": (6, 1, 1)}),
    "minimum-of-two": (13, 6, [node("Relu", "x", out="r"), node("Min", "r", "x")], {}),
    "cast": (13, 6, [node("Cast", "x", to=TensorProto.FLOAT)], {}),
    "cast-double": (13, 6, [node("Cast", "x", out="d", to=TensorProto.DOUBLE), node("Cast", "d", to=TensorProto.FLOAT)], {}),
    "neg": (13, 6, [node("Neg", "x")], {}),
    "subtracted-from": (13, 6, [node("Sub", "a", "x")], {"a": (6, 1, 1)}),
    "divided-by": (13, 6, [node("Div", "x", "a")], {"a": (1, 6, 1, 1)}),
    "divides": (13, 6, [node("Div", "a", "x")], {"a": (1, 6, 1, 1)}),
    "places": (13, 6, [node("Add", "x", "a")], {"a": (5, 5)}),
    "higher-rank": (13, 6, [node("Add", "x", "a", out="h"), node("Squeeze", "h", "z")], {"a": (1, 1, 6, 1, 1), "z": ints(0)}),
    "transpose-default": (13, 6, [node("Transpose", "x", out="t"), node("Transpose", "t", perm=[3, 2, 0, 1])], {}),
    "concat": (13, 12, [node("Relu", "x", out="r"), node("Concat", "x", "r", axis=-3)], {}),
    "concat-constant": (13, 12, [node("Concat", "x", "c", axis=1)], {"c": (1, 6, 5, 5)}),
    "gather": (13, 2, [node("Gather", "x", "i", axis=1)], {"i": ints(-1, 2)}),
    "gather-one": (
        13,
        6,
        [node("Gather", "x", "i", out="g", axis=-1), node("Unsqueeze", "g", "a")],
        {"i": np.int64(2), "a": ints(3)},
    ),
    "gather-batch": (13, 6, [node("Gather", "x", "i")], {"i": ints(0)}),
    "gather-nd": (
        13,
        3,
        [
            node("Transpose", "x", out="t", perm=[1, 0, 2, 3]),
            node("GatherND", "t", "i", out="g"),
            node("Transpose", "g", perm=[1, 0, 2, 3]),
        ],
        {"i": ints(4, 0, 1)[:, None]},
    ),
    "gather-nd-batch": (
        13,
        6,
        [node("GatherND", "x", "i", out="g", batch_dims=1), node("Unsqueeze", "g", "a")],
        {"i": ints(2)[None], "a": ints(1)},
    ),
    "unknown": (18, 6, [node("LRN", "x", size=3)], {}),
    "foreign": (18, 6, [helper.make_node("Relu", ["x"], ["y"], "odd", domain="com.example")], {}),
}


def variant(name: str) -> onnx.ModelProto:
    """A patch graph of one operator, between its input and a convolution with a pool."""
    opset, channels, nodes, constants = VARIANTS[name]
    entries: dict[str, Any] = {"first": (4, channels, 1, 1), **constants}
    tail = [
        node("Conv", "y", "first", out="convolved"),
        node("Relu", "convolved", out="positive"),
        node("GlobalAveragePool", "positive", out="mean"),
        node("Flatten", "mean", out="logits"),
    ]
    graph = helper.make_graph(
        [*nodes, *tail],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", BANDS, PATCH, PATCH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(weights(key, *entry) if isinstance(entry, tuple) else np.asarray(entry), key)
            for key, entry in entries.items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    return name_nodes(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def graph_of(name: str) -> onnx.ModelProto:
    """A graph by its name in digests.json."""
    return variant(name) if name in VARIANTS else stored(name)


class _Digester:
    """Lines of a graph's structure, and a number a float tensor: the same on every machine, the numbers but for rounding."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._numbers: list[float] = []

    def line(self, *entries: object) -> None:
        self._lines.append(" ".join(map(str, entries)))

    def array(self, array: np.ndarray) -> str:
        """A tensor's shape, and its values where they are whole numbers."""
        if array.dtype.kind != "f":
            return f"{array.dtype}{array.tolist()}"
        ramp = 1 + np.arange(array.size) / max(array.size, 1)
        self._numbers.append(float(f"{array.ravel().astype(np.float64) @ ramp:.9g}"))
        return f"{array.dtype}{list(array.shape)}"

    def onnx(self, model: onnx.ModelProto) -> None:
        names = {entry.name: f"in{place}" for place, entry in enumerate(model.graph.input)} | {"": "-"}
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        for place, entry in enumerate(model.graph.node):
            attributes = {a.name: helper.get_attribute_value(a) for a in entry.attribute}
            texts = [
                f"{key}={self.array(numpy_helper.to_array(value)) if key == 'value' else value}"
                for key, value in sorted(attributes.items())
            ]
            taken = [self.array(constants[name]) if name in constants else names[name] for name in entry.input]
            name = entry.name if entry.op_type in ("Conv", "Gemm", "MatMul") else ""
            self.line(entry.domain, entry.op_type, name, *texts, "|", *taken)
            names |= {output: f"{place}.{number}" for number, output in enumerate(entry.output)}
        for entry in (*model.graph.input, *model.graph.output):
            sizes = [size.dim_value or size.dim_param for size in entry.type.tensor_type.shape.dim]
            self.line(names[entry.name], entry.type.tensor_type.elem_type, sizes)

    def tensorflow(self, operations: list[Any]) -> None:
        import tensorflow as tf

        names: dict[str, str] = {}
        for place, operation in enumerate(operations):
            attributes = {key: value for key, value in operation.node_def.attr.items() if not key.startswith("_")}
            if operation.type == "Const":
                attributes = {"value": self.array(tf.make_ndarray(attributes["value"].tensor))}
            texts = [f"{key}={' '.join(str(value).split())}" for key, value in sorted(attributes.items())]
            self.line(operation.type, *texts, "|", *(names[tensor.name] for tensor in operation.inputs))
            names |= {tensor.name: f"{place}.{number}" for number, tensor in enumerate(operation.outputs)}

    def digest(self) -> Digest:
        text = "\n".join(self._lines)
        return {"structure": hashlib.sha256(text.encode()).hexdigest()[:16], "numbers": self._numbers}


def _or_error(make: Callable[[_Digester], None]) -> Digest:
    digester = _Digester()
    try:
        make(digester)
    except ModelError as error:
        return {"error": str(error).split("[ONNXRuntimeError]")[0]}
    except Exception as error:
        return {"crash": type(error).__name__}
    return digester.digest()


def scene_digest(model: onnx.ModelProto, approximate: bool = False) -> Digest:
    """What densify makes of a patch graph."""
    from hsiedge.graphs.scene_graph.densify import densify

    def make(digester: _Digester) -> None:
        scene_graph = densify(model, approximate)
        digester.line(scene_graph.patch, scene_graph.macs_per_pixel, scene_graph.approximations)
        digester.onnx(scene_graph.model)

    return _or_error(make)


def preprocessing_digest(model: onnx.ModelProto) -> Digest:
    """The preprocessing found in a graph, and the graph in which it follows an affine."""
    from hsiedge.graphs.preprocessing.match import find_preprocessing
    from hsiedge.graphs.preprocessing.rewrite import rewrite

    def make(digester: _Digester) -> None:
        preprocessing = find_preprocessing(ir.from_proto(model))
        if preprocessing is None:
            return digester.line("none")
        layer = preprocessing.layer
        digester.line(
            preprocessing.start,
            preprocessing.count,
            len(preprocessing.nodes),
            len(preprocessing.shape_ops),
            preprocessing.end,
            preprocessing.rigid,
            preprocessing.selects,
        )
        if layer is not None:
            digester.line(layer.padded, layer.shared, layer.pointwise, layer.space, layer.along, layer.node.name)
            digester.line(digester.array(layer.weight), digester.array(layer.bias))
        digester.line(
            *map(digester.array, (preprocessing.linear.bands, preprocessing.linear.matrix, preprocessing.linear.shift))
        )
        offset, scale = np.linspace(1, 2, preprocessing.count), np.linspace(2, 3, preprocessing.count)
        for affine in ((None, None), (offset, scale)):
            linear = preprocessing.linear if affine[0] is None else preprocessing.linear.behind(offset, scale)
            rewritten = ir.from_proto(model)
            rewrite(rewritten, preprocessing, linear, *affine)
            digester.onnx(ir.to_proto(rewritten))
        return None

    return _or_error(make)


def tflite_digest(model: onnx.ModelProto, integer: bool, scene: bool = False) -> Digest:
    """The TensorFlow function of a patch graph, or of its scene graph for a strip of 14 x 17 pixels."""
    from hsiedge.graphs.scene_graph.densify import densify
    from hsiedge.graphs.tflite.lower import Start, lowered

    def make(digester: _Digester) -> None:
        graph = densify(model, approximate=True).model if scene else model
        (entry,) = graph.graph.input
        bands, height, width = (size.dim_value for size in entry.type.tensor_type.shape.dim[1:])
        ranges = {name: (-1.0, 2.0) for proto in graph.graph.node for name in proto.output} | {entry.name: (-1.0, 2.0)}
        start = Start(entry.name, bands, height or 14, width or 17, batched=not scene)
        function = lowered(graph, start, ranges if integer else None)
        digester.tensorflow(function.get_concrete_function().graph.get_operations())

    return _or_error(make)


MAKERS: dict[str, Callable[[onnx.ModelProto], Digest]] = {
    "scene_graph": scene_digest,
    "scene_graph, approximate": lambda model: scene_digest(model, approximate=True),
    "preprocessing": preprocessing_digest,
    "tflite": lambda model: tflite_digest(model, integer=False),
    "tflite, integer": lambda model: tflite_digest(model, integer=True),
    "tflite, scene": lambda model: tflite_digest(model, integer=False, scene=True),
}


def digests_of(maker: str) -> dict[str, Digest]:
    """One of `MAKERS` on all graphs, by the graph's name."""
    return {name: MAKERS[maker](graph_of(name)) for name in (*STORED, *VARIANTS)}


def main() -> None:
    """Renews the digests of the makers that the command line names, or of all."""
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    digests |= {maker: digests_of(maker) for maker in sys.argv[1:] or MAKERS}
    rooms = []
    for maker in MAKERS:
        lines = [f"  {json.dumps(name)}: {json.dumps(digest)}" for name, digest in digests[maker].items()]
        rooms.append(f" {json.dumps(maker)}: {{\n" + ",\n".join(lines) + "\n }")
    DIGESTS.write_text("{\n" + ",\n".join(rooms) + "\n}\n")


if __name__ == "__main__":
    main()
