"""The head of a graph: which output counts, and whether it gives logits or probabilities."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import maker_of, operator, replace_value
from hsiedge.graphs.normalize.compare import feed_of, run, session

if TYPE_CHECKING:
    from onnx import ModelProto

_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
_MOVES = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "DequantizeLinear", "QuantizeLinear")


def choose_logits(model: ModelProto, logits: str | None) -> tuple[ModelProto, list[str]]:
    """The graph with one output, the one called `logits` where it has several, and a line that tells it.

    Raises:
        ModelError: several outputs and no name, or a name that none has.
    """
    names = [entry.name for entry in model.graph.output]
    if logits is None and len(names) == 1:
        return model, []
    if logits is None:
        sizes = ", ".join(f"{entry.name} {_sizes(entry)}" for entry in model.graph.output)
        raise ModelError(f"gives {len(names)} outputs, {sizes}; name the logits", use={"logits": "NAME"})
    if logits not in names:
        raise ModelError(f"has no output {logits!r}; it gives {', '.join(names)}")
    chosen = copy.deepcopy(model)
    kept = next(entry for entry in model.graph.output if entry.name == logits)
    del chosen.graph.output[:]
    chosen.graph.output.append(kept)
    others = [name for name in names if name != logits]
    return chosen, [f"of its outputs {logits} counts; {', '.join(others)} is left out"] if others else []


def refuse_training(model: ModelProto) -> None:
    """Raises ModelError for a graph exported in training mode, whose labels depend on the batch, or on chance."""
    for node in model.graph.node:
        attributes = {entry.name: entry.i for entry in node.attribute}
        batch = node.op_type == "BatchNormalization" and (attributes.get("training_mode") == 1 or len(node.output) > 1)
        if batch or node.op_type in _RANDOM:
            raise ModelError(
                f"node {node.name} ({node.op_type}): in training mode, so that a pixel's label depends on "
                f"{'its batch' if batch else 'chance'}; export the net after net.eval()"
            )


def drop_softmax(graph: ir.Model) -> list[str]:
    """Lets the graph give the logits that its last Softmax takes: labels are the same, and probabilities are the net's own."""
    output = graph.graph.outputs[0]
    node = maker_of(output, "Softmax") or maker_of(output, "LogSoftmax")
    if node is None or node.inputs[0] is None or node.inputs[0].producer() is None:
        return []
    shape, axis = output.shape, node.attributes.get_int("axis", -1)
    if shape is not None and axis not in (-1, 1, len(shape) - 1):
        return []
    replace_value(output, node.inputs[0])
    graph.graph.remove(node, safe=True)
    return [f"{node.op_type} at its end is left out: probabilities are taken of its logits"]


def flatten(graph: ir.Model, classes: int, patches: NDArray[Any]) -> list[str]:
    """Makes the output `(N, classes)`, of which other axes than these are 1, and says so in its sizes.

    Raises:
        ModelError: it gives more or fewer values than one a class, or the graph does not run.
    """
    opened = session(ir.to_proto(graph))
    shape = run(opened, feed_of(opened, patches[:2])).shape
    output, changes = graph.graph.outputs[0], []
    if len(shape) != 2:
        flat = operator("Flatten", [output], "", f"{output.name}_flatten", axis=1)
        replace_value(output, flat.outputs[0])
        flat.replace_input_with(0, output)
        output.name = f"{flat.outputs[0].name}_of_axes"
        graph.graph.append(flat)
        changes.append("its output, which has other axes of size 1, is made (N, classes)")
    graph.graph.outputs[0].shape = ir.Shape(["N", classes])
    return changes


def head_of(graph: ir.Model) -> str:
    """The function that makes probabilities at the end of a graph: "sigmoid", "softmax", or "" for logits."""
    value: ir.Value | None = graph.graph.outputs[0]
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node.op_type.lower() if node is not None and node.op_type in ("Sigmoid", "Softmax") else ""


def _sizes(entry: object) -> str:
    sizes = [size.dim_value or size.dim_param or "?" for size in entry.type.tensor_type.shape.dim]  # type: ignore[attr-defined]
    return "(" + ", ".join(map(str, sizes)) + ")"
