"""A front written anew: an affine of the bands where one is wanted, and the rest of what it did in the first layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.first_layer import Layer
from hsiedge.graphs.preprocessing.match import Front


def written(model: Any, front: Front, linear: Linear, offset: Array | None, scale: Array | None) -> tuple[Any, int]:
    """A graph in which `linear` follows `(x - offset) * scale`, and nothing else comes before the first layer.

    Args:
        offset, scale: `(bands,)`; None for none.

    Returns:
        The graph, and how many nodes now stand where those of the front stood.
    """
    made = copy.deepcopy(model)
    work = _Writer(made.graph, front)
    value = front.start
    for kind, name, given in (("Sub", "offset", offset), ("Mul", "scale", scale)):
        if given is not None:
            value = work.op(kind, [value, work.constant(name, given.astype(np.float32)[:, None, None])], name)
    if front.selects:
        value = work.op("Gather", [value, work.constant("bands", linear.bands)], "selected", axis=1)
    elif not linear.takes_all(front.count):
        linear = linear.spread(front.count)
    if front.layer is None:
        work.project(value, linear)
    else:
        work.layer(value, front.layer, linear)
    return made, work.replace()


class _Writer:
    """Writes nodes in the place of a front's."""

    def __init__(self, graph: Any, front: Front) -> None:
        self._graph, self._front = graph, front
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._gone = [node.output[0] for node in front.nodes]
        if front.layer is not None:
            self._gone.append(front.layer.node.output[0])
        kept = [node for node in graph.node if node.output[0] not in self._gone]
        used = {name for node in kept for name in (*node.input, *node.output)} | {entry.name for entry in graph.output}
        self._taken = used | {entry.name for entry in graph.input} | {name for move in front.moves for name in move.input}

    def op(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        output = self._fresh(name)
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        name = self._fresh(name)
        self._constants[name] = values
        return name

    def project(self, value: str, linear: Linear) -> None:
        """The linear map as a 1 x 1 convolution."""
        old = self._front.projection
        weight = self.constant(old.input[1], linear.matrix.astype(np.float32)[:, :, None, None])
        bias = self.constant(_bias_name(old), linear.shift.astype(np.float32))
        value = self.op("Conv", [value, weight, bias], "projected", kernel_shape=[1, 1])
        self._nodes[-1].name = old.name
        self._move(value)
        self._nodes[-1].output[0] = self._front.end

    def layer(self, value: str, layer: Layer, linear: Linear) -> None:
        """The first layer, with other weights."""
        node, weight, bias = layer.written(*layer.taking(linear))
        node.input.append(self._move(value))
        node.input.append(self.constant(layer.node.input[1], weight))
        node.input.append(self.constant(_bias_name(layer.node), bias))
        self._nodes.append(node)

    def _move(self, value: str) -> str:
        for move in self._front.moves:
            moved = copy.deepcopy(move)
            moved.input[0], moved.output[0] = value, self._fresh("moved")
            moved.name = moved.output[0]
            self._nodes.append(moved)
            value = moved.output[0]
        return value

    def replace(self) -> int:
        """Puts the new nodes where the last of the old ones stood."""
        from onnx import numpy_helper

        graph = self._graph
        last = max(place for place, node in enumerate(graph.node) if node.output[0] in self._gone)
        before, after = (
            [copy.deepcopy(node) for node in part if node.output[0] not in self._gone]
            for part in (graph.node[:last], graph.node[last:])
        )
        del graph.node[:], graph.value_info[:]
        graph.node.extend([*before, *self._nodes, *after])
        used = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
        constants = [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]
        for node in constants:
            graph.node.remove(node)
        tensors = [tensor for tensor in graph.initializer if tensor.name in used and tensor.name not in self._constants]
        tensors = [copy.deepcopy(tensor) for tensor in tensors]
        tensors += [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in self._constants.items()]
        gone = {tensor.name for tensor in graph.initializer} - {tensor.name for tensor in tensors}
        for entry in [entry for entry in graph.input if entry.name in gone]:  # where older files list their weights
            graph.input.remove(entry)
        del graph.initializer[:]
        graph.initializer.extend(tensors)
        return len(self._nodes)

    def _fresh(self, name: str) -> str:
        """A name like this that nothing bears yet."""
        number, made = 1, name
        while made in self._taken:
            number += 1
            made = f"{name}_{number}"
        self._taken.add(made)
        return made


def _bias_name(node: Any) -> str:
    return str(node.input[2]) if len(node.input) > 2 and node.input[2] else f"{node.input[1]}_bias"
