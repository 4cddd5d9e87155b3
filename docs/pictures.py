"""Pictures of graphs before and after the passes of quantization, for docs/explanation/quantization.md.

    python docs/pictures.py            # writes docs/images/passes/*.svg

Each graph is a real one: a small net, trained for one epoch on Indian Pines, exported and quantized, with the pipeline stopped
before and after each pass. Orange arrows are integers of 8 bits, blue ones floats. What a pass changed is drawn in full, with
a node or two around it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

import hsiedge as he
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.passes import FLOAT, INTEGER, read, run, write
from hsiedge.graphs.passes.standardize_input import StandardizeInput
from hsiedge.graphs.quantization.recipes import RECIPES
from hsiedge.graphs.quantization.session import calibrate, open_float, quantize_layers
from hsiedge.shipped import shipped

FOLDER = Path(__file__).parent / "images" / "passes"
NETS: dict[str, dict[str, Any]] = {
    "cnn2d-scene": {"net": "cnn2d", "patch": 7, "widths": (24, 24)},
    "cnn1d": {"net": "cnn1d"},
}
"""Nets by name; that of a name in -scene as a scene graph."""
AROUND = 1  # nodes that are drawn before and behind what was changed
INTEGERS = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)


@dataclass(frozen=True)
class Change:
    """A pass, and a graph before and after it."""

    name: str
    net: str
    before: onnx.ModelProto
    after: onnx.ModelProto

    @property
    def summary(self) -> str:
        """Operators of both graphs, in order; it stands in the picture's metadata."""
        return f"{self.net}: {' '.join(operators(self.before))} -> {' '.join(operators(self.after))}"


def operators(model: onnx.ModelProto) -> list[str]:
    """Operator of each node, in order."""
    return [node.op_type for node in nodes_of(model)]


def nodes_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes in order, without those that only make weights of stored integers."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if not stored.issuperset(node.input)]


def changes() -> dict[str, Change]:
    """The first change that each pass makes, over the nets in their order."""
    first: dict[str, Change] = {}
    scene = he.open_scene("indian_pines")
    first["StandardizeInput"] = _stranger(scene)
    with tempfile.TemporaryDirectory() as folder:
        for net, options in NETS.items():
            for change in _pipeline(net, scene, Path(folder), options):
                first.setdefault(change.name, change)
    return first


def _stranger(scene: he.Scene) -> Change:
    """The shipped net as others might have written it, with counts / 10000 and a BatchNorm; and with its input rewritten."""
    spectra = scene.cube[:][scene.labelled() > 0].astype(np.float32)
    mean, variance = (spectra / 10000).mean(0), (spectra / 10000).var(0)
    statistics = {
        "front_gain": np.ones(scene.bands),
        "front_bias": np.zeros(scene.bands),
        "front_mean": mean,
        "front_var": variance,
    }
    before = read_onnx(shipped(".onnx"))
    graph, nodes = before.graph, list(before.graph.node)
    conv = next(place for place, node in enumerate(nodes) if node.op_type == "Conv")
    nodes[conv].input[0] = "ready"
    divided = onnx.helper.make_node("Div", [nodes[0].output[0], "front_full"], ["divided"])
    normalized = onnx.helper.make_node("BatchNormalization", ["divided", *statistics], ["ready"])
    del graph.node[:]
    graph.node.extend([nodes[0], divided, normalized, *nodes[conv:]])
    arrays = {"front_full": np.float32(10000), **statistics}
    graph.initializer.extend(numpy_helper.from_array(np.float32(array), name) for name, array in arrays.items())
    model = read(before)
    run(model, [StandardizeInput(spectra)])
    return Change("StandardizeInput", "cnn2d with counts", name_nodes(before), write(model))


def _pipeline(net: str, scene: he.Scene, folder: Path, options: dict[str, Any]) -> Iterator[Change]:
    """Each step of quantization that changes the operators of a net's graph."""
    model = he.train(scene, epochs=1, **options).export(folder / f"{net}.onnx")
    graph = name_nodes(read_onnx(model.path))
    if net.endswith("-scene"):
        model, patches = model.to_scene_graph(), graph
        graph = name_nodes(read_onnx(model.path))
        yield Change("SceneGraph", net, patches, graph)
    yield from _steps(net, graph, FLOAT)
    calibrated = calibrate(open_float(model.path, scene, count=200), RECIPES["default"])
    qdq = quantize_layers(calibrated).graph
    yield Change("Quantize", net, calibrated.graph, qdq)
    yield from _steps(net, qdq, INTEGER)


def _steps(net: str, graph: onnx.ModelProto, passes: tuple[Any, ...]) -> Iterator[Change]:
    model = read(graph)
    for step in passes:
        before = write(ir.from_proto(ir.to_proto(model)))
        if run(model, [step]) and operators(before) != operators(write(model)):
            yield Change(type(step).__name__, net, before, write(model))


def window(before: list[str], after: list[str]) -> tuple[slice, slice]:
    """Places of the nodes to draw in both: what differs, and AROUND nodes on each side."""
    same = next((n for n, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after)))
    room = min(len(before), len(after)) - same
    end = next((n for n, (a, b) in enumerate(zip(reversed(before), reversed(after))) if a != b or n == room), room)
    start = max(0, same - AROUND)
    return slice(start, len(before) - max(0, end - AROUND)), slice(start, len(after) - max(0, end - AROUND))


def draw(change: Change, path: Path) -> None:
    """Writes both graphs side by side as SVG."""
    import matplotlib as mpl
    from matplotlib import pyplot

    parts = window(operators(change.before), operators(change.after))
    rows = max(part.stop - part.start for part in parts)
    style = {"svg.hashsalt": "hsiedge", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(style):
        figure, axes = pyplot.subplots(1, 2, figsize=(6, 0.52 * rows + 0.6))
        for axis, model, part, title in zip(axes, (change.before, change.after), parts, ("before", "after")):
            _column(axis, model, part, rows)
            axis.set_title(title, color="#808080", fontsize=10)
        figure.tight_layout()
        about = {"Title": change.name, "Description": change.summary, "Date": None}
        figure.savefig(path, transparent=True, metadata=about)
        pyplot.close(figure)


def _column(axis: Any, model: onnx.ModelProto, part: slice, rows: int) -> None:
    """Nodes one below the other, with an arrow for each value that goes from one to another."""
    nodes, types = nodes_of(model)[part], _types(model)
    axis.set(xlim=(-1.6, 1.6), ylim=(-rows + 0.3, 1.0))
    axis.axis("off")
    makers = {name: place for place, node in enumerate(nodes) for name in node.output}
    for place, node in enumerate(nodes):
        integer = types.get(node.output[0]) in INTEGERS
        colour = "#f6c28b" if integer else "#a9cbe8"
        box = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "#606060", "linewidth": 0.8}
        axis.text(0, -place, _label(node, model), ha="center", va="center", bbox=box, color="#101010")
        sources = {
            makers.get(name, -1 if part.start == 0 and name == model.graph.input[0].name else None) for name in node.input
        }
        for source in sorted(sources - {None}):
            _arrow(axis, source, place, "#d9822b" if _source_type(source, nodes, model, types) in INTEGERS else "#3d7fb8")


def _source_type(place: int, nodes: list[onnx.NodeProto], model: onnx.ModelProto, types: dict[str, int]) -> int | None:
    name = nodes[place].output[0] if place >= 0 else model.graph.input[0].name
    return types.get(name)


def _arrow(axis: Any, source: int, target: int, colour: str) -> None:
    bend = 0.0 if target - source == 1 else -0.45
    axis.annotate(
        "", (0.0 if not bend else 0.9, -target + 0.3), (0.0 if not bend else 0.9, -source - 0.3),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "connectionstyle": f"arc3,rad={bend}"},
    )  # fmt: skip


def _label(node: onnx.NodeProto, model: onnx.ModelProto) -> str:
    """Operator, and what tells it from others: a kernel's size, a shape, an order of axes."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = [stored[name] for name in node.input[1:2] if name in stored]
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type == "Reshape" and weights:
        return f"Reshape {numpy_helper.to_array(weights[0]).tolist()}"
    if "kernel_shape" in attributes:
        return f"{node.op_type} {' x '.join(map(str, attributes['kernel_shape']))}"
    return f"{node.op_type} {attributes['perm']}" if "perm" in attributes else node.op_type


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of each value."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}


def main() -> None:
    """Writes the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, change in changes().items():
        draw(change, FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main()
