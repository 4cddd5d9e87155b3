"""Pass: a patch graph becomes a scene graph, which does for a whole scene, once, what the former does for each patch.

Sermanet et al. 2014 ("OverFeat", section 3.5) slid unpadded nets over images by dilating what was strided; here that is done to
ONNX, for any net of which each value, at position i of a patch, is the value of one map at the patch's pixel plus a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from hsiedge.errors import ModelError
from hsiedge.graphs.normalize.one_patch import normalized
from hsiedge.graphs.operator_view import constant_of, operands_of
from hsiedge.graphs.scene_graph.deferred import settled
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, Window, X, Y
from hsiedge.graphs.scene_graph.node import Node
from hsiedge.graphs.scene_graph.rules import RULES

OPSET, IR_VERSION = 18, 10


@dataclass(frozen=True)
class SceneGraph:
    """A scene graph.

    Attributes:
        model: `onnx.ModelProto`, `(1, bands, H + patch - 1, W + patch - 1) -> (1, classes, H, W)`.
        patch: the receptive field; larger than the patch graph's where that one pads its patches.
        macs_per_pixel: multiply-accumulates for each pixel of a large scene.
        approximations: what is not done as in the patch graph, one line a node; where there are none, labels are the same.
    """

    model: onnx.ModelProto
    patch: int
    macs_per_pixel: int
    approximations: list[str]


def densify(model: onnx.ModelProto, approximate: bool = False) -> SceneGraph:
    """Makes the scene graph of a patch graph.

    Requires: `(N, bands, p, p) -> (N, classes)`, p odd, of operators in ONNX's own domain, without branches or loops.
    Does: dilates convolutions and pools by the strides before them; makes global pools windowed, and linear layers on
    flattened maps convolutions; puts the spectral axis of 3-D nets in the place of the batch, so that their convolutions
    are 2-D ones; applies a linear head before an average pool where that leaves less to be pooled.
    Ensures: for any height and width, logits are those of the patch graph at each pixel, but for rounding.

    Args:
        approximate: where a net looks at the border of its patches (it pads them), or at all of a patch at once, let it see
            what lies around the patch instead.

    Raises:
        ModelError: a node for which there is no equivalent; it is named, with the reason.
    """
    graph = ir.from_proto(normalized(model)).graph
    walk = _Walk(graph, approximate, 0)
    if walk.lacking:
        walk = _Walk(graph, approximate, walk.lacking)
    return walk.scene_graph


class _Walk:
    """One walk over a normal graph; `margin` pixels more than a patch has are read on each side."""

    def __init__(self, graph: ir.Graph, approximate: bool, margin: int) -> None:
        self._graph, self._approximate = graph, approximate
        self._layouts: dict[ir.Value, Layout] = {}
        self._build = Builder()
        self._approximations: list[str] = []
        self._patch = self._start(next(value for value in graph.inputs if constant_of(value) is None), margin)
        for node in graph:
            if node.op_type != "Constant":
                self._step(node)
        logits = self._logits()
        self.lacking = max(0, *(max(-window.start, window.start - window.extra) for window in (logits.y, logits.x)))
        if not self.lacking:
            self.scene_graph = SceneGraph(self._model(logits), self._patch, self._build.macs, self._approximations)

    def _start(self, value: ir.Value, margin: int) -> int:
        """Lays the patch graph's input out; returns the receptive field."""
        assert value.shape is not None
        _, bands, height, width = value.shape.numpy()
        if height != width or height % 2 == 0:
            raise ModelError(f"takes patches of {height} x {width}; a scene graph is made of square ones with a centre")
        self._input = ir.Value(name=value.name, type=value.type, shape=ir.Shape([1, bands, "rows", "columns"]))
        band, patch = Factor(bands), height + 2 * margin
        window = Window(height, 1, margin, patch - 1)
        self._layouts[value] = Layout(self._input, ((), (band,), (Y,), (X,)), (), (band,), window, window)
        return patch

    def _step(self, proto: ir.Node) -> None:
        node = Node(proto, operands_of(proto, self._layouts), self._build, self._approximate)
        self._layouts |= dict(zip(proto.outputs, RULES.apply(node)))
        self._approximations += node.approximations

    def _logits(self) -> Layout:
        """The output, in maps of its own order."""
        output = self._graph.outputs[0]
        layout = self._layouts.get(output)
        if layout is None or len(layout.axes) < 2 or layout.windows(range(len(layout.axes))):
            shape = None if output.shape is None else tuple(output.shape)
            raise ModelError(f"gives {shape} for one patch; a scene graph is made of (N, classes)")
        end = Node(ir.node("Identity", [], name="output"), [layout], self._build, self._approximate, self._approximations)
        layout = settled(end, layout)
        return self._build.arranged(layout, [], layout.statics(range(len(layout.axes))), ordered=True)

    def _model(self, logits: Layout) -> onnx.ModelProto:
        windows = (logits.y, logits.x)
        cropped = self._build.cropped(logits, *((window.start, window.extra - window.start) for window in windows))
        value = self._build.op("Identity", [cropped.value]) if cropped.value is self._input else cropped.value
        value.name, value.type = "logits", ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([1, sum(factor.size for factor in logits.channels) or 1, "height", "width"])
        graph = ir.Graph(
            [self._input],
            [value],
            nodes=self._build.nodes,
            initializers=self._build.initializers,
            opset_imports={"": OPSET},
            name="hsiedge",
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="hsiedge")
        for tidy in (common.RemoveUnusedNodesPass(), common.DeduplicateInitializersPass()):
            model = tidy(model).model
        return ir.to_proto(model)
