"""Pass: a patch graph becomes a scene graph, which does for a whole scene, once, what the former does for each patch.

Sermanet et al. 2014 ("OverFeat", section 3.5) slid unpadded nets over images by dilating what was strided; here that is done to
ONNX, for any net of which each value, at position i of a patch, is the value of one map at the patch's pixel plus a constant.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from hsiedge.errors import ModelError
from hsiedge.graphs.normalize.one_patch import normalized
from hsiedge.graphs.normalize.versions import to_our_opset
from hsiedge.graphs.operator_view import constant_of, operands_of
from hsiedge.graphs.scene_graph.blocks import block_of, roll
from hsiedge.graphs.scene_graph.deferred import mean_taken, settled
from hsiedge.graphs.scene_graph.hybrid import LOGITS, BackError, HybridFacts, PixelPart, rest_of
from hsiedge.graphs.scene_graph.layout import Builder, Factor, Layout, Window, X, Y
from hsiedge.graphs.scene_graph.node import Node
from hsiedge.graphs.scene_graph.rules import RULES

OPSET, IR_VERSION = 18, 10
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneGraph:
    """A scene graph.

    Attributes:
        model: `onnx.ModelProto`, `(1, bands, H + patch - 1, W + patch - 1) -> (1, classes, H, W)`.
        patch: the receptive field; larger than the patch graph's where that one pads its patches.
        macs_per_pixel: multiply-accumulates for each pixel of a large scene.
        approximations: what is not done as in the patch graph, one line a node; where there are none, labels are the same.
        hybrid: parts of a graph whose end runs pixel by pixel; None for one that is dense to its end.
    """

    model: onnx.ModelProto
    patch: int
    macs_per_pixel: int
    approximations: list[str]
    hybrid: HybridFacts | None = None


def densify(model: onnx.ModelProto, approximate: bool = False) -> SceneGraph:
    """Makes the scene graph of a patch graph.

    Requires: `(N, bands, p, p) -> (N, classes)`, p odd, of operators in ONNX's own domain, without branches or loops.
    Does: dilates convolutions and pools by the strides before them; makes global pools windowed, and linear layers on
    flattened maps convolutions; puts the spectral axis of 3-D nets in the place of the batch, so that their convolutions
    are 2-D ones; applies a linear head before an average pool where that leaves less to be pooled. From the first node
    without a dense equivalent on, the patch graph itself runs with pixels as the batch (`hsiedge.graphs.scene_graph.hybrid`).
    Ensures: for any height and width, logits are those of the patch graph at each pixel, but for rounding.

    Args:
        approximate: where a net looks at the border of its patches (it pads them), or at all of a patch at once, let it see
            what lies around the patch instead.

    Raises:
        ModelError: with `approximate`, a node for which there is no equivalent; it is named, with the reason. Else a graph that
            is not `(N, bands, p, p) -> (N, classes)` with a free N.
    """
    graph = ir.from_proto(normalized(model)).graph
    if approximate:
        walk = _Walk(graph, 0, approximate=True)
        if walk.lacking:
            walk = _Walk(graph, walk.lacking, approximate=True)
        return walk.scene_graph
    original, _ = to_our_opset(model)
    pixelwise: set[str] = set()
    while True:
        try:
            return _Walk(graph, 0, pixelwise=pixelwise, original=original).scene_graph
        except BackError as error:
            pixelwise.add(error.value)


class _Walk:
    """One walk over a normal graph.

    Args:
        margin: pixels more than a patch has that are read on each side.
        pixelwise: names of values that are to be made pixel by pixel.
        original: the graph with a free batch, whose end runs pixel by pixel.
    """

    def __init__(
        self,
        graph: ir.Graph,
        margin: int,
        *,
        approximate: bool = False,
        pixelwise: Collection[str] = (),
        original: onnx.ModelProto | None = None,
    ) -> None:
        self._graph, self._approximate, self._original = graph, approximate, original
        self._named, self._pixelwise, self._cut = pixelwise, set[ir.Value](), dict[ir.Value, None]()
        self._layouts: dict[ir.Value, Layout] = {}
        self._build = Builder()
        self._approximations: list[str] = []
        self._patch = self._start(next(value for value in graph.inputs if constant_of(value) is None), margin)
        for node in graph:
            if node.op_type != "Constant":
                self._step(node)
        if graph.outputs[0] in self._pixelwise:
            self.lacking = 0
            self.scene_graph = self._hybrid()
            return
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
        pixelwise = any(value in self._pixelwise for value in proto.inputs)
        if pixelwise or any(value.name in self._named for value in proto.outputs):
            self._leave(proto)
            return
        node = Node(proto, operands_of(proto, self._layouts), self._build, self._approximate)
        before = self._build.mark()
        try:
            layouts = RULES.apply(node)
        except ModelError as error:
            if self._original is None:
                raise
            _LOG.info("%s: from there on pixel by pixel", error)
            self._build.reset(before)
            self._leave(proto)
            return
        self._layouts |= dict(zip(proto.outputs, layouts))
        self._approximations += node.approximations

    def _leave(self, proto: ir.Node) -> None:
        """Leaves a node to the part that runs pixel by pixel; what it takes of the maps is cut from them."""
        self._pixelwise.update(proto.outputs)
        self._cut |= {value: None for value in proto.inputs if value in self._layouts}

    def _hybrid(self) -> SceneGraph:
        assert self._original is not None
        layouts = {value.name or "": self._finished(value) for value in self._cut}
        strip = next(value for value in self._graph.inputs if constant_of(value) is None)
        rest = rest_of(self._original, list(layouts), strip.name or "")
        maps = {name: self._build.as_maps(layouts.get(name) or self._layouts[strip]) for name in rest.cut}
        part = PixelPart(self._build, next(iter(maps.values())))
        windows = {name: part.windows(maps[name], axis) for name, axis in rest.cut.items()}
        dense = self._build.macs
        value = part.run(rest, windows)
        sizes = self._graph.outputs[0].shape
        assert sizes is not None
        classes = int(sizes.numpy()[1])
        block = block_of(rest.bytes)
        model = self._graph_to(value, classes)
        pixel_logits = next(entry for node in model.graph for entry in node.outputs if entry.name == LOGITS)
        pixel_logits.type, pixel_logits.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["pixels", classes])
        roll(model, block)
        facts = HybridFacts(dense, rest.macs, tuple(rest.cut), block, rest.first, block * rest.bytes)
        return SceneGraph(ir.to_proto(model), self._patch, dense + rest.macs, [], facts)

    def _finished(self, value: ir.Value) -> Layout:
        """A value's maps with nothing left to be done to them. Raises BackError where a gate of the patch is still to come."""
        layout = self._layouts[value]
        if layout.gate is not None:
            raise BackError(value.name or "")
        return layout if layout.mean is None else mean_taken(self._build, layout)

    def _logits(self) -> Layout:
        """The output, in maps of its own order."""
        output = self._graph.outputs[0]
        layout = self._layouts.get(output)
        if layout is None or len(layout.axes) < 2 or layout.windows(range(len(layout.axes))):
            shape = None if output.shape is None else tuple(output.shape)
            raise ModelError(f"gives {shape} for one patch; a scene graph is made of (N, classes)")
        end = Node(ir.node("Identity", [], name="output"), [layout], self._build, self._approximate, self._approximations)
        if self._original is not None and layout.gate is not None:
            raise BackError(output.name or "")
        layout = settled(end, layout)
        return self._build.arranged(layout, [], layout.statics(range(len(layout.axes))), ordered=True)

    def _model(self, logits: Layout) -> onnx.ModelProto:
        windows = (logits.y, logits.x)
        cropped = self._build.cropped(logits, *((window.start, window.extra - window.start) for window in windows))
        value = self._build.op("Identity", [cropped.value]) if cropped.value is self._input else cropped.value
        return ir.to_proto(self._graph_to(value, sum(factor.size for factor in logits.channels) or 1))

    def _graph_to(self, value: ir.Value, classes: int) -> ir.Model:
        """The graph that gives a value `(1, classes, height, width)`."""
        value.name, value.type = "logits", ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([1, classes, "height", "width"])
        graph = ir.Graph(
            [self._input],
            [value],
            nodes=self._build.nodes,
            initializers=self._build.initializers,
            opset_imports={"": self._opset},
            name="hsiedge",
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="hsiedge")
        for tidy in (common.RemoveUnusedNodesPass(), common.DeduplicateInitializersPass()):
            model = tidy(model).model
        return model

    @property
    def _opset(self) -> int:
        versions = (
            [] if self._original is None else [entry.version for entry in self._original.opset_import if not entry.domain]
        )
        return int(max([OPSET, *versions]))
