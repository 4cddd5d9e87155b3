"""Strangers' graphs, one trait each, made normal: the same logits, for one patch and for several."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are made of onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from hsiedge.errors import CheckError, ModelError  # noqa: E402
from hsiedge.graphs.normalize import Normalized, normalize  # noqa: E402
from hsiedge.graphs.normalize.compare import check_same  # noqa: E402

BANDS, PATCH, CLASSES = 6, 3, 4
PATCHES = np.random.default_rng(0).normal(size=(8, BANDS, PATCH, PATCH)).astype(np.float32)
Array = np.ndarray


def weight(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def node(kind: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"{kind}_{outputs.split()[0]}", **attributes)


def graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    inputs: dict[str, tuple] | None = None,
    outputs: dict[str, tuple] | None = None,
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    inputs = inputs or {"x": ("N", BANDS, PATCH, PATCH)}
    outputs = outputs or {"y": ("N", CLASSES)}
    entries = [[helper.make_tensor_value_info(name, dtype, size) for name, size in part.items()] for part in (inputs, outputs)]
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    whole = helper.make_graph(nodes, "g", *entries, tensors)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, **feeds: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


HEAD = {"w": weight(CLASSES, 8), "b": weight(CLASSES)}
FIRST = {"k": weight(8, BANDS, 3, 3)}
GEMM = node("Gemm", "h w b", "y", transB=1)


def kinds(normal: Normalized) -> list[str]:
    return [entry.op_type for entry in normal.model.graph.node]


def same(model: onnx.ModelProto, *, of_patches: object = None, logits: str | None = None, limit: float = 1e-5) -> Normalized:
    """Normalizes, and compares by onnxruntime alone with the original, patch by patch and for several batches."""
    normal = normalize(model, PATCHES, logits=logits)
    (entry,) = normal.model.graph.input
    assert [size.dim_value for size in entry.type.tensor_type.shape.dim] == [0, BANDS, PATCH, PATCH]
    assert 18 <= normal.model.opset_import[0].version <= 21
    dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    if of_patches is not None:
        feeds = [of_patches(PATCHES[place : place + 1]) for place in range(len(PATCHES))]
        feeds = [feed if isinstance(feed, dict) else {model.graph.input[0].name: feed} for feed in feeds]
        expected = np.concatenate([run(model, **feed).reshape(1, -1) for feed in feeds])
        for count in (1, 2, 7):
            ours = run(normal.model, **{entry.name: PATCHES[:count].astype(dtype)})
            np.testing.assert_allclose(ours, expected[:count], atol=limit * np.ptp(expected))
    return normal


def flattened(opset: int) -> onnx.ModelProto:
    """A convolution, `view(x.size(0), -1)` as exporters wrote it, a linear layer."""
    axes = {"axes": [0]} if opset < 13 else {}
    second = "size" if opset < 13 else "size zero"
    nodes = [
        node("Conv", "x k", "c"),
        node("Relu", "c", "r"),
        node("Shape", "r", "sizes"),
        node("Gather", "sizes first", "size", axis=0),
        node("Unsqueeze", second, "batch", **axes),
        node("Concat", "batch rest", "target", axis=0),
        node("Reshape", "r target", "h"),
        GEMM,
    ]
    constants = {**FIRST, **HEAD, "first": np.array(0), "rest": np.array([-1])}
    return graph(nodes, constants if opset < 13 else {**constants, "zero": np.array([0])}, opset=opset)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21, 22])
def test_opsets_become_ours_and_the_view_of_a_size_a_reshape(opset: int) -> None:
    normal = same(flattened(opset), of_patches=lambda patches: patches)
    assert kinds(normal) == ["Conv", "Relu", "Reshape", "Gemm"]
    sizes = next(entry for entry in normal.model.graph.initializer if entry.name == normal.model.graph.node[2].input[1])
    np.testing.assert_array_equal(numpy_helper.to_array(sizes), [-1, 8])
    changed = any(change.startswith(f"opset {opset} becomes") for change in normal.changes)
    assert changed == (not 18 <= opset <= 21)


@pytest.mark.parametrize("target", [[1, -1], [1, 8]])
def test_a_batch_fixed_at_1_is_freed(target: list[int]) -> None:
    nodes = [node("Conv", "x k", "c"), node("Reshape", "c target", "h"), GEMM]
    constants = {**FIRST, **HEAD, "target": np.array(target)}
    model = graph(nodes, constants, inputs={"x": (1, BANDS, PATCH, PATCH)}, outputs={"y": (1, CLASSES)})
    normal = same(model, of_patches=lambda patches: patches)
    assert "a batch fixed at 1 is freed" in normal.changes


@pytest.mark.parametrize("named", [False, True])
def test_a_squeeze_without_axes_leaves_the_batch(named: bool) -> None:
    squeeze = node("Squeeze", "c axes" if named else "c", "h")
    constants = {**FIRST, **HEAD, **({"axes": np.array([2, 3])} if named else {})}
    normal = same(graph([node("Conv", "x k", "c"), squeeze, GEMM], constants))
    (squeeze,) = (entry for entry in normal.model.graph.node if entry.op_type == "Squeeze")
    assert len(squeeze.input) == 2
    ours = [run(normal.model, x=PATCHES[:count]) for count in (1, 8)]
    np.testing.assert_allclose(ours[0], ours[1][:1], atol=1e-5)


def test_a_squeeze_of_nothing_goes() -> None:
    """`head(x).squeeze()`: an empty list of axes would be all that are 1, of one patch the batch, too."""
    gemm = node("Gemm", "f w b", "z", transB=1)
    constants = {**FIRST, **HEAD}
    model = graph([node("Conv", "x k", "c"), node("Flatten", "c", "f"), gemm, node("Squeeze", "z", "y")], constants)
    assert "Squeeze" not in kinds(normalize(model, PATCHES))
    assert run(normalize(model, PATCHES).model, x=PATCHES[:1]).shape == (1, CLASSES)


def test_an_if_of_squeeze_becomes_its_branch() -> None:
    """x.squeeze(1) as torch exports it: squeezed only if that axis is 1."""
    then = helper.make_graph([node("Squeeze", "deep axes", "t")], "then", [],
                             [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)])  # fmt: skip
    other = helper.make_graph([node("Identity", "deep", "o")], "else", [],
                              [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)])  # fmt: skip
    nodes = [
        node("Unsqueeze", "x axes", "deep"),
        node("Shape", "deep", "sizes"),
        node("Gather", "sizes one", "size", axis=0),
        node("Equal", "size one", "alone"),
        node("If", "alone", "flat", then_branch=then, else_branch=other),
        node("Conv", "flat k", "c"),
        node("Flatten", "c", "h"),
        GEMM,
    ]
    model = graph(nodes, {**FIRST, **HEAD, "axes": np.array([1]), "one": np.array(1)})
    normal = same(model, of_patches=lambda patches: patches)
    assert "If" not in kinds(normal)
    assert "Shape" not in kinds(normal)
    assert any("branches whose condition is known" in change for change in normal.changes)


def looped(passes: list[onnx.NodeProto], *, listed: bool) -> onnx.ModelProto:
    """A state that goes along the rows of a patch; each is given as it stands, or put into a list where its row is even."""
    kind = onnx.TypeProto()
    kind.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    step, going = (helper.make_tensor_value_info(*entry, []) for entry in (("i", TensorProto.INT64), ("go", TensorProto.BOOL)))
    state = helper.make_tensor_value_info("s", TensorProto.FLOAT, None)
    then = helper.make_graph([node("SequenceInsert", "l n", "t")], "then", [], [helper.make_value_info("t", kind)])
    other = helper.make_graph([node("Identity", "l", "o")], "else", [], [helper.make_value_info("o", kind)])
    body = [
        node("Gather", "x i", "row", axis=2),
        node("Add", "row s", "sum"),
        node("Tanh", "sum", "n"),
        node("Identity", "go", "on"),
    ]
    odd = [node("Mod", "i two", "r"), node("Cast", "r", "odd", to=TensorProto.BOOL)]
    choice = [*odd, node("If", "odd", "m", then_branch=other, else_branch=then)] if listed else [node("Identity", "n", "m")]
    entries = [step, going, state, *([helper.make_value_info("l", kind)] if listed else [])]
    results = [helper.make_tensor_value_info(*entry, None) for entry in (("on", TensorProto.BOOL), ("n", TensorProto.FLOAT))]
    last = helper.make_value_info("m", kind) if listed else helper.make_tensor_value_info("m", TensorProto.FLOAT, None)
    inner = helper.make_graph([*body, *choice], "body", entries, [*results, last])
    joint = [node("ConcatFromSequence", "rows", "all", axis=0, new_axis=1)] if listed else [node("Identity", "rows", "all")]
    nodes = [
        *passes,
        *([node("SequenceEmpty", "", "empty")] if listed else []),
        node("Loop", "count yes zero" + " empty" * listed, "state rows", body=inner),
        *joint,
        node("Transpose", "all", "ordered", perm=[1, 0, 2, 3]),
        node("Reshape", "ordered flat", "h"),
        node("Gemm", "h w b", "y", transB=1),
    ]
    width = (2 if listed else 3) * BANDS * PATCH
    numbers = {
        "yes": np.array(True),
        "two": np.array(2),
        "zero": np.zeros((1, 1, 1), np.float32),
        "flat": np.array([-1, width]),
    }
    return graph(nodes, {**numbers, "w": weight(CLASSES, width), "b": HEAD["b"], "three": np.array(3), "axis": np.array(2)})


@pytest.mark.parametrize("listed", [False, True])
def test_a_loop_of_known_passes_is_written_out(listed: bool) -> None:
    """As a scripted net has it: so many passes as the patch has rows, what each gives stacked, or in a list."""
    model = looped([node("Shape", "x", "sizes"), node("Gather", "sizes axis", "count", axis=0)], listed=listed)
    normal = same(model, of_patches=lambda patches: patches)
    assert not {"Loop", "If", "SequenceInsert", "SequenceEmpty", "ConcatFromSequence"} & {*kinds(normal)}
    assert kinds(normal).count("Tanh") == 3


def test_a_loop_whose_passes_depend_on_the_patch_is_left() -> None:
    zero = [node("ReduceMax", "x", "top", keepdims=0), node("Sub", "top top", "z")]
    counted = [*zero, node("Cast", "z", "zi", to=TensorProto.INT64), node("Add", "zi three", "count")]
    assert "Loop" in kinds(same(looped(counted, listed=False), of_patches=lambda patches: patches))


def test_shared_weights_and_dropout_go() -> None:
    """Two layers take one weight, one of them through Identity; Dropout stands between."""
    nodes = [
        node("Identity", "k", "shared"),
        node("Conv", "x k", "one"),
        node("Conv", "x shared", "two"),
        node("Add", "one two", "c"),
        node("Dropout", "c", "d"),
        node("Flatten", "d", "h"),
        GEMM,
    ]
    normal = same(graph(nodes, {**FIRST, **HEAD}), of_patches=lambda patches: patches)
    assert kinds(normal) == ["Conv", "Conv", "Add", "Flatten", "Gemm"]
    assert len({entry.input[1] for entry in normal.model.graph.node if entry.op_type == "Conv"}) == 1


@pytest.mark.parametrize("kind", ["batch-norm", "dropout", "chance"])
def test_training_mode_is_refused(kind: str) -> None:
    scale = {name: np.ones(8, np.float32) for name in ("s", "o", "m", "v")}
    middle = {
        "batch-norm": node("BatchNormalization", "c s o m v", "d m2 v2", training_mode=1),
        "dropout": node("Dropout", "c half yes", "d"),
        "chance": node("RandomNormalLike", "c", "d"),
    }[kind]
    constants = {**FIRST, **HEAD, **scale, "half": np.array(0.5, np.float32), "yes": np.array(True)}
    with pytest.raises(ModelError, match=r"in training mode.*net\.eval"):
        normalize(graph([node("Conv", "x k", "c"), middle, node("Flatten", "d", "h"), GEMM], constants), PATCHES)


def test_an_output_that_depends_on_the_batch_is_refused() -> None:
    nodes = [node("ReduceMean", "x axes", "m", keepdims=1), node("Sub", "x m", "s"), node("Conv", "s k", "c"),
             node("Flatten", "c", "h"), GEMM]  # fmt: skip
    with pytest.raises(ModelError, match="depends on the others of its batch"):
        normalize(graph(nodes, {**FIRST, **HEAD, "axes": np.array([0])}), PATCHES)


LAYOUTS = {
    "(N, p, p, bands)": (("N", 3, 3, BANDS), lambda p: p.transpose(0, 2, 3, 1)),
    "(N, 1, bands, p, p)": (("N", 1, BANDS, 3, 3), lambda p: p[:, None]),
    "(N, 1, p, p, bands)": (("N", 1, 3, 3, BANDS), lambda p: p.transpose(0, 2, 3, 1)[:, None]),
    "(N, bands, p, p, 1)": (("N", BANDS, 3, 3, 1), lambda p: p[..., None]),
    "(N, p, p, bands, 1)": (("N", 3, 3, BANDS, 1), lambda p: p.transpose(0, 2, 3, 1)[..., None]),
}


@pytest.mark.parametrize("text", LAYOUTS)
def test_other_layouts_get_what_is_missing_in_front(text: str) -> None:
    sizes, arrange = LAYOUTS[text]
    constants = {"w": weight(CLASSES, BANDS * 9), "b": weight(CLASSES)}
    model = graph([node("Flatten", "x", "h"), GEMM], constants, inputs={"x": sizes})
    normal = same(model, of_patches=lambda patches: np.ascontiguousarray(arrange(patches)))
    assert any(f"in front of x, which takes {text}" in change for change in normal.changes)


@pytest.mark.parametrize("sizes", [("N", BANDS), ("N", BANDS, 1), ("N", 1, BANDS)])
def test_spectra_are_patches_of_one_pixel(sizes: tuple) -> None:
    pixels = PATCHES[:, :, 1:2, 1:2]
    constants = {"w": weight(CLASSES, BANDS), "b": weight(CLASSES)}
    model = graph([node("Flatten", "x", "h"), GEMM], constants, inputs={"x": sizes})
    normal = normalize(model, pixels)
    expected = pixels.reshape(len(pixels), BANDS) @ constants["w"].T + constants["b"]
    np.testing.assert_allclose(run(normal.model, patches=pixels), expected, atol=1e-5)


def test_two_inputs_are_fed_from_one() -> None:
    nodes = [
        node("Conv", "cube k", "c"),
        node("Flatten", "c", "f"),
        node("Gemm", "line v", "g", transB=1),
        node("Add", "f g", "h"),
        GEMM,
    ]
    model = graph(nodes, {**FIRST, **HEAD, "v": weight(8, BANDS)},
                  inputs={"cube": ("N", BANDS, 3, 3), "line": ("N", BANDS)})  # fmt: skip
    normal = same(model, of_patches=lambda patches: {"cube": patches, "line": patches[:, :, 1, 1]})
    assert any("of the centre pixel" in change for change in normal.changes)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"x": ("N", BANDS, 3, 3), "z": ("N", BANDS, 3, 3)}, "its two inputs take"),
        ({"x": ("N", 5, 3, 3)}, "with 6 bands and patch 3, one of"),
        (dict.fromkeys("xyz", ("N", BANDS)), "has 3 inputs"),
    ],
)
def test_unknown_inputs_are_refused(inputs: dict[str, tuple], reason: str) -> None:
    flat = [node("Flatten", name, f"f{name}") for name in inputs]
    joined = node("Concat", " ".join(f"f{name}" for name in inputs), "y", axis=1)
    with pytest.raises(ModelError, match=reason):
        normalize(graph([*flat, joined], {}, inputs=inputs, outputs={"out": ("N", 1)}), PATCHES)


def test_of_several_outputs_one_is_named() -> None:
    nodes = [node("Conv", "x k", "c"), node("Flatten", "c", "h"), GEMM]
    model = graph(nodes, {**FIRST, **HEAD}, outputs={"h": ("N", 8), "y": ("N", CLASSES)})
    with pytest.raises(ModelError, match=r"gives 2 outputs.*name the logits") as caught:
        normalize(model, PATCHES)
    assert dict(caught.value.use) == {"logits": "NAME"}
    with pytest.raises(ModelError, match="has no output 'z'; it gives h, y"):
        normalize(model, PATCHES, logits="z")
    normal = same(model, logits="y")
    assert run(normal.model, x=PATCHES).shape == (len(PATCHES), CLASSES)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_heads(kind: str) -> None:
    nodes = [node("Conv", "x k", "c"), node("Flatten", "c", "h"), node("Gemm", "h w b", "g", transB=1),
             node(kind, "g", "y", **({} if kind == "Sigmoid" else {"axis": 1}))]  # fmt: skip
    normal = same(graph(nodes, {**FIRST, **HEAD}))
    logits = run(graph(nodes[:3], {**FIRST, **HEAD}, outputs={"g": ("N", CLASSES)}), x=PATCHES)
    ours = run(normal.model, x=PATCHES)
    if kind == "Sigmoid":
        assert normal.head == "sigmoid"
        np.testing.assert_allclose(ours, 1 / (1 + np.exp(-logits)), atol=1e-5)
    else:
        assert normal.head == ""
        assert kind not in kinds(normal)
        np.testing.assert_allclose(ours, logits, atol=1e-4)


def test_an_output_of_more_axes_is_made_flat() -> None:
    model = graph([node("Conv", "x last", "y")], {"last": weight(CLASSES, BANDS, 3, 3)},
                  outputs={"y": ("N", CLASSES, 1, 1)})  # fmt: skip
    normal = same(model, of_patches=lambda patches: patches)
    assert any("made (N, classes)" in change for change in normal.changes)


def tensor_kinds(model: onnx.ModelProto) -> set[int]:
    return {tensor.data_type for tensor in model.graph.initializer}


@pytest.mark.parametrize("outside", [False, True])
def test_float16_weights(outside: bool) -> None:
    """Float16 inside, float32 outside as keep_io_types leaves it; or float16 outside too."""
    nodes = [node("Cast", "x", "x16", to=TensorProto.FLOAT16), node("Conv", "x16 k", "c"), node("Flatten", "c", "h"),
             node("Gemm", "h w b", "y16", transB=1), node("Cast", "y16", "y", to=TensorProto.FLOAT)]  # fmt: skip
    constants = {name: values.astype(np.float16) for name, values in {**FIRST, **HEAD}.items()}
    model = graph(nodes, constants)
    if outside:
        inner = [node("Conv", "x k", "c"), node("Flatten", "c", "h"), GEMM]
        model = graph(inner, constants, dtype=TensorProto.FLOAT16)
        normal = same(model, of_patches=lambda patches: patches.astype(np.float16), limit=2e-2)
    else:
        normal = same(model, of_patches=lambda patches: patches, limit=2e-2)
    assert TensorProto.FLOAT16 not in tensor_kinds(normal.model)  # which no integer kernel takes, nor TFLite's converter
    assert "float16 becomes float32, which holds its numbers" in normal.changes


def test_float64_input() -> None:
    nodes = [node("Cast", "x", "f", to=TensorProto.FLOAT), node("Conv", "f k", "c"), node("Flatten", "c", "h"),
             node("Gemm", "h w b", "g", transB=1), node("Cast", "g", "y", to=TensorProto.DOUBLE)]  # fmt: skip
    model = graph(nodes, {**FIRST, **HEAD}, dtype=TensorProto.DOUBLE)
    same(model, of_patches=lambda patches: patches.astype(np.float64))


def test_a_quantized_graph_keeps_its_integers() -> None:
    scale, zero = np.array(0.02, np.float32), np.array(0, np.int8)
    stored = np.clip(np.round(FIRST["k"] / scale), -127, 127).astype(np.int8)
    nodes = [node("QuantizeLinear", "x wide zero", "q"), node("DequantizeLinear", "q wide zero", "xd"),
             node("DequantizeLinear", "stored scale zero", "k"), node("Conv", "xd k", "c"), node("Flatten", "c", "h"),
             GEMM]  # fmt: skip
    constants = {**HEAD, "stored": stored, "scale": scale, "zero": zero, "wide": np.array(0.05, np.float32)}
    normal = same(graph(nodes, constants, opset=13), of_patches=lambda patches: patches)
    assert kinds(normal).count("DequantizeLinear") == 2
    assert any(entry.data_type == TensorProto.INT8 and entry.dims for entry in normal.model.graph.initializer)


@pytest.mark.parametrize(
    ("equation", "shape", "kept"),
    [
        ("nbyx,bk->nkyx", (BANDS, 8), False),
        ("kb,nbyx->nyxk", (8, BANDS), False),
        ("nbyx,byxk->nk", (BANDS, 3, 3, 8), False),
        ("nbyx,ybgk->nxgk", (3, BANDS, 2, 5), False),
        ("nbyx,nbzw->nyxzw", None, False),
        ("nbyx,nbyw->nbxw", None, False),
        ("nbyx,bk->nky", (BANDS, 8), True),
        ("nb...,bk->nk...", (BANDS, 8), True),
    ],
)
def test_einsum_becomes_a_product(equation: str, shape: tuple | None, kept: bool) -> None:
    first = node("Einsum", f"{'r v' if not equation.startswith('kb') else 'v r'}" if shape else "r r", "e", equation=equation)
    width = np.einsum(equation, *((PATCHES, weight(*shape)) if not equation.startswith("kb") else (weight(*shape), PATCHES))
                      if shape else (PATCHES, PATCHES))[0].size  # fmt: skip
    constants = {"w": weight(CLASSES, width), "b": weight(CLASSES), **({"v": weight(*shape)} if shape else {})}
    model = graph([node("Tanh", "x", "r"), first, node("Flatten", "e", "h"), GEMM], constants)
    normal = same(model, of_patches=lambda patches: patches)
    assert ("Einsum" in kinds(normal)) == kept
    assert ("MatMul" in kinds(normal)) != kept


def test_a_graph_that_is_another_net_is_found_out() -> None:
    model = flattened(18)
    expected = run(model, x=PATCHES)
    check_same(model, expected, PATCHES, softmax=False, limit=1e-4)
    with pytest.raises(CheckError, match="the normalized graph is not the net"):
        check_same(model, expected + np.arange(CLASSES), PATCHES, softmax=False, limit=1e-4)


def test_weights_that_are_no_numbers_are_named_as_such() -> None:
    model = graph(
        [node("Flatten", "x", "h"), GEMM], {"w": np.full((CLASSES, BANDS * 9), np.nan, np.float32), "b": weight(CLASSES)}
    )
    with pytest.raises(ModelError, match="not finite"):
        normalize(model, PATCHES)


@pytest.mark.parametrize(("bands", "other"), [(PATCH, ["(N, p, p, bands)"]), (BANDS, [])])
def test_a_layout_that_fits_twice_is_not_taken_without_a_word(bands: int, other: list[str]) -> None:
    """Of as many bands as the patch is wide, sizes do not say which axis is which."""
    patches = PATCHES[:, :bands]
    constants = {"w": weight(CLASSES, bands * 9), "b": weight(CLASSES)}
    model = graph([node("Flatten", "x", "h"), GEMM], constants, inputs={"x": ("N", bands, PATCH, PATCH)})
    lines = [change for change in normalize(model, patches).changes if "too" in change]
    expected = "taken as (N, bands, p, p); it runs on {}, too: compare with the code that it was trained by"
    assert lines == [expected.format(text) for text in other]


def test_the_argument_is_left_as_it_was() -> None:
    model = flattened(11)
    for entry in model.graph.node:
        entry.name = ""
    before = model.SerializeToString()
    normalize(model, PATCHES)
    assert model.SerializeToString() == before
