"""Pass: the maximum first, then the activation, of a fraction of the values. What rises keeps the order of its arguments."""

from __future__ import annotations

import onnx_ir as ir

from hsiedge.graphs.edit import forget_type, name_of, replace_value, taken, use_count
from hsiedge.graphs.passes.graph_pass import GraphPass

_RISING = ("Relu", "Sigmoid", "Softplus", "Tanh")


class PoolBeforeActivation(GraphPass):
    """Takes maxima before activations that rise.

    Integer graphs gain twice: the maximum is taken of the bytes that a convolution gives, and fewer values go through float.

    Requires: nothing.
    Does: MaxPool of such an activation, whose values nobody else takes, changes places with it.
    Ensures: outputs are the same, and no such MaxPool is left.
    """

    def rewrite(self, model: ir.Model) -> str:
        count = 0
        for pool in list(model.graph):
            activation = _activation(pool)
            if activation is not None:
                _swap(pool, activation)
                count += 1
        return f"{count} maxima are taken before their activations" if count else ""

    def fault(self, model: ir.Model) -> str:
        return "a maximum is taken behind an activation that rises" if any(_activation(pool) for pool in model.graph) else ""


def _activation(pool: ir.Node) -> ir.Node | None:
    """The rising activation whose values a MaxPool alone takes."""
    if pool.op_type != "MaxPool" or len(pool.outputs) > 1 or use_count(taken(pool)) > 1:
        return None
    node = taken(pool).producer()
    return node if node is not None and node.op_type in _RISING else None


def _swap(pool: ir.Node, activation: ir.Node) -> None:
    graph, source = pool.graph, taken(activation)
    assert graph is not None
    (pooled,), (activated,) = pool.outputs, activation.outputs
    name = name_of(pooled)
    pool.replace_input_with(0, source)
    replace_value(pooled, activated)
    activation.replace_input_with(0, pooled)
    graph.remove(activation)
    graph.insert_after(pool, activation)
    pooled.name = f"{name}_greatest"
    forget_type(pooled, activated)
