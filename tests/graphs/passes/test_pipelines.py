"""The two pipelines of passes: from stored graphs, ranges and layers they make what they have made, to the bit.

A change of behaviour renews the digests in `tests/graphs/data/digests.json`, in a commit that says why:
`python -m tests.graphs.passes.test_pipelines`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graph passes need onnx")
from onnx import helper, numpy_helper  # noqa: E402
from onnx_ir.passes import PassResult, PostconditionError  # noqa: E402

from hsiedge.graphs.onnx_io import check_onnx  # noqa: E402
from hsiedge.graphs.passes import FLOAT, INTEGER, apply, read, run, write  # noqa: E402
from hsiedge.graphs.passes.conv3d_to_conv2d import Conv3dToConv2d  # noqa: E402
from hsiedge.graphs.passes.fixed_point_input import FixedPointInput, adjusted_ranges  # noqa: E402
from hsiedge.graphs.passes.float_logits import FloatLogits  # noqa: E402
from hsiedge.graphs.passes.hoist_quantize import HoistQuantize  # noqa: E402
from hsiedge.graphs.passes.polyphase_pool import PolyphasePool  # noqa: E402
from hsiedge.graphs.passes.tanh_lut import TanhLut  # noqa: E402
from hsiedge.graphs.quantization.calibration import fixed_tanh  # noqa: E402
from hsiedge.graphs.quantization.recipes import RECIPES  # noqa: E402
from hsiedge.graphs.quantization.session import CalibratedModel, deploy, quantize_layers  # noqa: E402
from tests.graphs.float_passes import float_passes  # noqa: E402

FOLDER = Path(__file__).parents[1] / "data"
DIGESTS = FOLDER / "digests.json"
GRAPHS = [
    "cnn1d",
    "cnn2d",
    "cnn3d",
    "hybridsn",
    "dscnn",
    "dividing",
    "pooled-line",
    "cnn1d-scene",
    "cnn2d-scene",
    "dscnn-scene",
]
_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")


class Case(NamedTuple):
    """A stored graph, and how it is quantized."""

    graph: str
    recipe: str = "default"
    float_layers: int = 0  # how many of the last layers stay float

    @property
    def key(self) -> str:
        """As it is called in the file of digests."""
        return f"{self.graph}, {self.recipe}, {self.float_layers} float"


CASES = [*map(Case, GRAPHS), Case("cnn2d", "avx2"), Case("cnn1d", "tensorrt"), Case("cnn3d", float_layers=1)]


def stages(case: Case) -> dict[str, Any]:
    """What the graph is after each stage, and the affine that was taken out of it."""
    plan, spectra = RECIPES[case.recipe], np.load(FOLDER / "spectra.npy")
    ranges = {name: tuple(limits) for name, limits in json.loads((FOLDER / "ranges.json").read_text())[case.graph].items()}
    floats = float_passes(onnx.load(FOLDER / f"{case.graph}.onnx"), spectra)
    if plan.activations == "uint8":
        ranges = fixed_tanh(floats, ranges)
    model = read(floats)
    if not plan.symmetric_activations:
        run(model, [FixedPointInput(ranges, spectra)])
    calibrated = write(model)
    source = CalibratedModel(None, calibrated, adjusted_ranges(model, ranges), plan)  # type: ignore[arg-type]
    qdq = quantize_layers(source, source.layers[: len(source.layers) - case.float_layers])
    artifact = deploy(qdq)
    return {"float": floats, "calibrated": calibrated, "qdq": qdq.graph, "integer": artifact.graph, "affine": artifact.affine}


def digest(*parts: Any) -> str:
    """A short hash of texts and bytes."""
    text = b"\0".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    return hashlib.sha256(text).hexdigest()[:16]


def values_digest(tensor: Any) -> str:
    """A hash of a tensor: its values' bytes, their dtype and sizes."""
    array = numpy_helper.to_array(tensor)
    return digest(array.dtype.newbyteorder("<").str, array.shape, np.ascontiguousarray(array).tobytes())


def attribute_texts(node: Any) -> list[str]:
    """Names and values of a node's attributes, in order."""
    pairs = ((entry.name, helper.get_attribute_value(entry)) for entry in node.attribute)
    return sorted(f"{name}={values_digest(value) if hasattr(value, 'dims') else value}" for name, value in pairs)


def graph_digest(model: Any) -> str:
    """A hash of a graph's structure and values, whatever its values are called and in which order it is written.

    A value is known by how it is made: a node's by its operator, its attributes and its inputs. Names count where somebody
    relies on them: those of inputs, outputs and nodes with weights. Nodes and tensors count one by one, so that two equal
    tensors are not the same as one that is shared.
    """
    graph = model.graph
    known = {"": "none"} | {tensor.name: values_digest(tensor) for tensor in graph.initializer}
    tensors = sorted(known.values())
    inputs = [entry for entry in graph.input if entry.name not in known]
    known |= {entry.name: digest(entry.name, entry.type.SerializeToString(deterministic=True)) for entry in inputs}
    nodes = []
    for node in graph.node:
        name = node.name if node.op_type in _WITH_WEIGHTS else ""
        taken = [known[entry] for entry in node.input]
        nodes.append(digest(node.domain, node.op_type, name, len(node.output), *attribute_texts(node), *taken))
        known |= {entry: digest(nodes[-1], place) for place, entry in enumerate(node.output)}
    outputs = [(entry.name, entry.type.tensor_type.elem_type, known[entry.name]) for entry in graph.output]
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return digest(opset, model.ir_version, *tensors, *sorted(nodes), *outputs, *(known[entry.name] for entry in inputs))


def stage_digests(case: Case) -> dict[str, str]:
    """A digest of each stage."""
    return {name: digest(stage) if name == "affine" else graph_digest(stage) for name, stage in stages(case).items()}


@pytest.mark.parametrize("case", CASES, ids=[case.key for case in CASES])
def test_the_pipelines_make_what_they_made(case: Case) -> None:
    assert stage_digests(case) == json.loads(DIGESTS.read_text())[case.key]


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_they_make_is_valid(graph: str) -> None:
    by_stage = stages(Case(graph))
    for name in ("float", "calibrated", "qdq", "integer"):
        check_onnx(by_stage[name])


def test_each_pass_says_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hsiedge"):
        for graph in ("hybridsn", "dividing", "pooled-line", "dscnn-scene"):
            stages(Case(graph))
    speakers = {record.name.rsplit(".", 1)[-1] for record in caplog.records if record.name.startswith("hsiedge.graphs.passes.")}
    pipelines = {type(step).__module__.rsplit(".", 1)[-1] for step in (*FLOAT, *INTEGER)}
    assert pipelines - speakers <= {"separate_int8_tensors"}  # QDQ graphs share none
    assert {"standardize_input", "fixed_point_input"} <= speakers


@pytest.mark.parametrize("step", [Conv3dToConv2d, FloatLogits, HoistQuantize, PolyphasePool, TanhLut])
def test_a_pass_that_does_not_do_it_is_caught(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ensures what the next relies on."""
    before = "float" if step is Conv3dToConv2d else "qdq"
    model = onnx.load(FOLDER / "pooled-line.onnx") if before == "float" else stages(Case("pooled-line"))[before]
    apply(model, *earlier(step), step())
    monkeypatch.setattr(step, "call", lambda self, model: PassResult(model, False))
    with pytest.raises(PostconditionError):
        apply(model, *earlier(step), step())


def earlier(step: Any) -> list[Any]:
    """The passes of a pipeline before this one."""
    pipeline = FLOAT if any(isinstance(entry, step) for entry in FLOAT) else INTEGER
    place = next(place for place, entry in enumerate(pipeline) if isinstance(entry, step))
    return list(pipeline[:place])


def test_the_digest_sees_values_and_structure_and_no_order() -> None:
    model = onnx.load(FOLDER / "cnn2d.onnx")
    before = graph_digest(model)
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    model.graph.initializer.extend(reversed(tensors))
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "another_name"
    assert graph_digest(model) == before
    changed = numpy_helper.to_array(model.graph.initializer[0]).copy()
    changed.flat[0] += 1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(changed, model.graph.initializer[0].name))
    assert graph_digest(model) != before


def renew(cases: Iterable[Case]) -> None:
    """Writes the digests of today."""
    DIGESTS.write_text(json.dumps({case.key: stage_digests(case) for case in cases}, indent=1) + "\n")


if __name__ == "__main__":
    renew(CASES)
