"""Pass: the maximum first, then the activation, of a fraction of the values. What rises keeps the order of its arguments."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError

from hsiedge.graphs.edit import forget_type, name_of, replace_value, taken, use_count

_LOG = logging.getLogger(__name__)
_RISING = ("Relu", "Sigmoid", "Softplus", "Tanh")


class PoolBeforeActivation(InPlacePass):
    """Takes maxima before activations that rise.

    Integer graphs gain twice: the maximum is taken of the bytes that a convolution gives, and fewer values go through float.

    Requires: nothing.
    Does: MaxPool of such an activation, whose values nobody else takes, changes places with it.
    Ensures: outputs are the same, and no such MaxPool is left.
    """

    def call(self, model: ir.Model) -> PassResult:
        """Works on the model itself."""
        count = 0
        for pool in list(model.graph):
            activation = _activation(pool)
            if activation is not None:
                _swap(pool, activation)
                count += 1
        if count:
            _LOG.info("%d maxima are taken before their activations", count)
        return PassResult(model, bool(count))

    def ensures(self, model: ir.Model) -> None:
        """Raises PostconditionError where a MaxPool is left behind such an activation."""
        if any(_activation(pool) for pool in model.graph):
            raise PostconditionError("a maximum is taken behind an activation that rises")


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
