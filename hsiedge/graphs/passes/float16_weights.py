"""Pass: the layers' weights are stored in half the bytes; each is cast back to float32 when the model is loaded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import LAYERS, array_of, constant, name_of, operator
from hsiedge.graphs.passes.graph_pass import GraphPass


class Float16Weights(GraphPass):
    """Stores weights and biases of layers as float16, and casts them.

    The per-band affine stays float32: counts of 2048 and more have no exact float16.

    Requires: nothing.
    Does: puts a Cast to float32 behind each float32 initializer that a layer takes as weight or bias, and rounds it to float16.
    Ensures: outputs are the same but for that rounding.
    """

    def rewrite(self, model: ir.Model) -> str:
        """Works on the model itself.

        Raises:
            ModelError: a weight is too large for float16.
        """
        layers = [node for node in model.graph if node.op_type in LAYERS]
        weights = dict.fromkeys(value for node in layers for value in node.inputs[1:] if value is not None)
        for value in weights:
            values = array_of(value)
            if values is not None and values.dtype == np.float32:
                _halve(model.graph, value, values.astype(np.float16))
        return f"weights of {len(layers)} layers are stored as float16" if weights else ""


def _halve(graph: ir.Graph, value: ir.Value, halves: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> None:
    name = name_of(value)
    if not np.isfinite(halves).all():
        raise ModelError(f"weight {name} is too large for float16")
    del graph.initializers[name]
    cast = operator("Cast", [constant(graph, f"{name}_float16", halves)], name, f"{name}_cast", to=ir.DataType.FLOAT.value)
    value.replace_all_uses_with(cast.outputs[0], replace_graph_outputs=True)
    graph.insert_before(graph[0], cast)
