"""Finding the front of a graph.

What a stranger's graph does there (a division, BatchNorm, a selection, PCA as a product or a convolution, transposes between
them) is one linear map of the bands in the end, some moves that only rearrange axes, and the layer that takes the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hsiedge.graphs.normalize import constants
from hsiedge.graphs.preprocessing.band_map import Linear
from hsiedge.graphs.preprocessing.first_layer import Layer, layer_of
from hsiedge.graphs.preprocessing.operators import STEPS, Path

DEARER = 1.25
"""Two linear maps become one where that takes at most so many times the multiplications. In onnxruntime, a Gather of 50 of
200 bands and a layer on what is left take half the time of a layer on all; with 180 of 200 it is the other way round."""
_LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Front:
    """What stands between a value `(N, bands, y, x)`, float32, and what the first layer makes.

    Attributes:
        start: the value.
        count: of its bands.
        nodes: all of it but the layer, in order.
        end: the value that the last of the nodes makes.
        linear: what they do to bands.
        moves: what they do to axes.
        layer: what takes `end`. None where the linear map mixes bands, and is the first layer itself.
        projection: the last of the nodes that mix bands.
        rigid: whether the layer cannot take more bands than it does.
    """

    start: str
    count: int
    nodes: list[Any]
    end: str
    linear: Linear
    moves: list[Any]
    layer: Layer | None
    projection: Any
    rigid: bool

    @property
    def selects(self) -> bool:
        """Whether the selection of bands stays a node of its own."""
        dear = self.count > DEARER * len(self.linear.bands)
        return not self.linear.takes_all(self.count) and (dear or self.rigid)


def find_front(model: Any) -> Front | None:
    """The front of a graph; None where its first layer does not take bands, or graphs within nodes may take what is between."""
    inner = any(entry.HasField("g") or len(entry.graphs) for node in model.graph.node for entry in node.attribute)
    return None if inner else _Walk(model).front()


class _Walk:
    """From the first layer back to where bands begin to be linear, then on from there."""

    def __init__(self, model: Any) -> None:
        import onnx
        from onnx import TensorProto

        self._nodes = model.graph.node
        self._constants = constants(model)
        self._uses = Counter(name for node in self._nodes for name in node.input)
        self._uses.update(entry.name for entry in model.graph.output)
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._takers = {name: node for node in self._nodes for name in node.input}
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._floats = {
            entry.name: [size.dim_value if size.HasField("dim_value") else -1 for size in entry.type.tensor_type.shape.dim]
            for entry in (*graph.input, *graph.value_info, *graph.output)
            if entry.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self._taken: list[Any] = []
        self._projection: Any = None

    def front(self) -> Front | None:
        known = self._known()
        sizes = self._floats.get(self._data(known[0]), []) if known else []
        if len(sizes) != 4 or sizes[1] < 1:
            return None
        start = self._data(known[0])
        self._path = Path(start, dict(zip("nbyx", sizes)), self._constants, Linear.identity(sizes[1]))
        layer = self._forth(known)
        if layer is None and self._projection is None:
            return None
        path = self._path
        rigid = layer is not None and (path.shaped or layer.shared or len(layer.weight) > 1)
        return Front(start, sizes[1], self._taken, path.value, path.linear, path.moves, layer, self._projection, rigid)

    def _known(self) -> list[Any]:
        """The first layer, and before it the steps that lead there, each for the next one alone."""
        first = next((node for node in self._nodes if node.op_type in _LAYERS and self._data(node)), None)
        known = [] if first is None else [first]
        while known:
            name = self._data(known[0])
            maker = self._makers.get(name)
            if maker is None or self._uses[name] > 1 or maker.op_type not in STEPS or self._data(maker) not in self._floats:
                break
            known.insert(0, maker)
        return known

    def _data(self, node: Any) -> str:
        """What a node works on: the one input that is not constant; "" where there are more, or it makes more than one."""
        names = [name for name in node.input if name and name not in self._constants]
        return str(names[0]) if len(names) == 1 and len(node.output) == 1 else ""

    def _following(self, known: list[Any]) -> Iterator[Any]:
        """What is known, and what follows as long as one node alone takes a value."""
        yield from known
        while self._uses[self._path.value] == 1 and self._path.value in self._takers:
            yield self._takers[self._path.value]

    def _forth(self, known: list[Any]) -> Layer | None:
        """Takes in one node after the other, up to a layer that is not a projection."""
        for node in self._following(known):
            if self._data(node) != self._path.value:
                return None
            if node.op_type in _LAYERS:
                layer = layer_of(node, self._path)
                if layer is None or not self._merges(layer):
                    return None
                if not (layer.pointwise and self._path.permuted):
                    return layer
                self._project(node, layer)
            elif node.op_type not in STEPS or not self._path.take(node):
                return None
            self._taken.append(node)
            self._path.value = node.output[0]
        return None

    def _project(self, node: Any, layer: Layer) -> None:
        path = self._path
        path.linear = path.linear.projected(layer.weight[0, :, :, 0], layer.bias)
        path.sizes["b"] = len(layer.bias)
        self._projection = node

    def _merges(self, layer: Layer) -> bool:
        """Whether a layer takes in a map that mixes bands, and at no great cost. Any other map it does, in part at least."""
        linear = self._path.linear
        if not linear.mixes:
            return True
        if layer.shared or len(layer.weight) > 1 or self._path.shaped or (layer.padded and linear.shift.any()):
            return False
        made, taken = linear.matrix.shape
        return bool(layer.weight.size // made * taken <= DEARER * (made * taken + layer.weight.size))
