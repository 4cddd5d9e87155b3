"""Finding the preprocessing of a graph.

What a stranger's graph does there (a division, BatchNorm, a selection, PCA as a product or a convolution, transposes between
them) is one linear map of the bands in the end, some nodes that only rearrange axes, and the layer that takes the result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import use_count
from hsiedge.graphs.preprocessing.band_map import Linear
from hsiedge.graphs.preprocessing.first_layer import LAYERS, Layer
from hsiedge.graphs.preprocessing.operators import STEPS, Path

DEARER = 1.25
"""Two linear maps become one where that takes at most so many times the multiplications. In onnxruntime, a Gather of 50 of
200 bands and a layer on what is left take half the time of a layer on all; with 180 of 200 it is the other way round."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocessing:
    """All that stands between a value `(N, bands, y, x)`, float32, and what the first layer makes.

    Attributes:
        start: the value's name.
        count: of its bands.
        nodes: all of it but the layer, in order.
        end: the name of the value that the last of the nodes makes.
        linear: what they do to bands.
        shape_ops: what they do to axes.
        layer: what takes `end`. None where the linear map mixes bands, and is the first layer itself.
        projection: the last of the nodes that mix bands.
        rigid: whether the layer cannot take more bands than it does.
    """

    start: str
    count: int
    nodes: list[ir.Node]
    end: str
    linear: Linear
    shape_ops: list[ir.Node]
    layer: Layer | None
    projection: ir.Node | None
    rigid: bool

    @property
    def selects(self) -> bool:
        """Tells preprocessing whose selection of bands stays a node of its own."""
        dear = self.count > DEARER * len(self.linear.bands)
        return not self.linear.takes_all(self.count) and (dear or self.rigid)


def find_preprocessing(model: ir.Model) -> Preprocessing | None:
    """The preprocessing of a graph.

    Returns:
        None where the first layer does not take bands, or graphs within nodes may take what is between.
    """
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True)
    graph = ir.from_proto(proto).graph
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(attribute.type in graphs for node in graph for attribute in node.attributes.values()):
        return None
    return _Walk(graph).preprocessing()


class _Walk:
    """One walk from the first layer back to where bands begin to be linear, then on from there."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._taken: list[ir.Node] = []
        self._projection: ir.Node | None = None

    def preprocessing(self) -> Preprocessing | None:
        """All that is found on the way."""
        known = self._known()
        start = _data(known[0]) if known else None
        if start is None or start.dtype != ir.DataType.FLOAT or start.shape is None or len(start.shape) != 4:
            return None
        sizes = [size if isinstance(size, int) else -1 for size in start.shape]
        if sizes[1] < 1:
            return None
        self._path = path = Path(start, dict(zip("nbyx", sizes)), Linear.identity(sizes[1]))
        layer = self._forth(known)
        if layer is None and self._projection is None:
            return None
        rigid = layer is not None and (path.shaped or layer.shared or len(layer.weight) > 1)
        names = start.name or "", path.value.name or ""
        return Preprocessing(
            names[0], sizes[1], self._taken, names[1], path.linear, path.shape_ops, layer, self._projection, rigid
        )

    def _known(self) -> list[ir.Node]:
        """The first layer, and before it the steps that lead there, each for the next one alone."""
        first = next((node for node in self._graph if node in LAYERS and _data(node) is not None), None)
        known = [] if first is None else [first]
        while known:
            value = _data(known[0])
            maker = value.producer() if value is not None and use_count(value) == 1 else None
            before = _data(maker) if maker is not None and maker in STEPS else None
            if maker is None or before is None or before.dtype != ir.DataType.FLOAT:
                break
            known.insert(0, maker)
        return known

    def _following(self, known: Sequence[ir.Node]) -> Iterator[ir.Node]:
        """The known nodes, and those that follow as long as one node alone takes a value."""
        yield from known
        while use_count(self._path.value) == 1 and (takers := self._path.value.consumers()):
            yield takers[0]

    def _forth(self, known: Sequence[ir.Node]) -> Layer | None:
        """Takes in one node after the other, up to a layer that is not a projection; None where there is none."""
        path = self._path
        for node in self._following(known):
            if _data(node) is not path.value:
                return None
            try:
                if node not in LAYERS:
                    STEPS.apply(path.step(node))
                elif not self._projects(node, layer := LAYERS.apply(path.step(node))):
                    return layer
            except ModelError as error:
                _LOG.debug("preprocessing ends: %s", error)
                return None
            self._taken.append(node)
            path.value = node.outputs[0]
        return None

    def _projects(self, node: ir.Node, layer: Layer) -> bool:
        """Takes in a layer that is a projection; False for any other. Raises ModelError where it merges with nothing before."""
        path = self._path
        if not self._merges(layer):
            raise ModelError(f"node {node.name} ({node.op_type}): it would take too many multiplications")
        if not (layer.pointwise and path.permuted):
            return False
        path.linear = path.linear.projected(layer.weight[0, :, :, 0], layer.bias)
        path.sizes["b"] = len(layer.bias)
        self._projection = node
        return True

    def _merges(self, layer: Layer) -> bool:
        """Tells a layer that takes in a map that mixes bands at no great cost. Any other map it does, in part at least."""
        linear = self._path.linear
        if not linear.mixes:
            return True
        if layer.shared or len(layer.weight) > 1 or self._path.shaped or (layer.padded and linear.shift.any()):
            return False
        outputs, bands = linear.matrix.shape
        return bool(layer.weight.size // outputs * bands <= DEARER * (outputs * bands + layer.weight.size))


def _data(node: ir.Node) -> ir.Value | None:
    """The value that a node works on: its one input that is not constant; None where there are more, or several outputs."""
    values = [value for value in node.inputs if value is not None and ir.convenience.get_const_tensor(value) is None]
    return values[0] if len(values) == 1 and len(node.outputs) == 1 else None
