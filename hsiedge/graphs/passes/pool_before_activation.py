"""Pass: the maximum first, then the activation, of a fraction of the values. What rises keeps the order of its arguments."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

_RISING = ("Relu", "Sigmoid", "Softplus", "Tanh")


def pool_before_activation(model: Any) -> Any:
    """Takes maxima before activations that rise.

    Integer graphs gain twice: the maximum is taken of the bytes that a convolution gives, and fewer values go through float.

    Requires: nothing.
    Does: MaxPool of such an activation, whose values nobody else takes, changes places with it.
    Ensures: outputs are the same.
    """
    made = copy.deepcopy(model)
    graph = made.graph
    uses = Counter(name for node in graph.node for name in node.input) + Counter(entry.name for entry in graph.output)
    places = {node.output[0]: place for place, node in enumerate(graph.node)}
    for pool in graph.node:
        place = places.get(pool.input[0]) if pool.op_type == "MaxPool" and len(pool.output) == 1 else None
        if place is None or graph.node[place].op_type not in _RISING or uses[pool.input[0]] > 1:
            continue
        later, earlier = copy.deepcopy(graph.node[place]), copy.deepcopy(pool)
        later.output[0], earlier.input[0] = pool.output[0], later.input[0]
        earlier.output[0] = later.input[0] = f"{pool.output[0]}_greatest"
        graph.node[place].CopyFrom(earlier)
        pool.CopyFrom(later)
    del graph.value_info[:]
    return made
