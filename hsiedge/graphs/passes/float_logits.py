"""Pass: logits stay float. A step of 1/255 of their range makes ties, and saves nothing."""

from __future__ import annotations

import copy
from typing import Any

_MOVES = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def float_logits(model: Any) -> Any:
    """Takes the last QuantizeLinear and DequantizeLinear away.

    Requires: a graph with one output.
    Does: where that output is DequantizeLinear of QuantizeLinear, or such a value moved (transposed, reshaped), takes in its
    place what the node before them makes; again, until it is no such value.
    Ensures: nothing else changes; a graph that ends otherwise is returned as it is.
    """
    made = copy.deepcopy(model)
    while (pair := _last_pair(made.graph)) is not None:
        before, last = pair
        source, gone = before.input[0], last.output[0]
        kept = [node for node in made.graph.node if node not in (last, before)]
        for node in kept:
            for names in (node.input, node.output):
                for place, entry in enumerate(names):
                    names[place] = gone if entry == source else entry
        del made.graph.node[:]
        made.graph.node.extend(kept)
    return made


def _last_pair(graph: Any) -> tuple[Any, Any] | None:
    makers = {output: node for node in graph.node for output in node.output}
    last = makers.get(graph.output[0].name)
    while last is not None and last.op_type in _MOVES:
        last = makers.get(last.input[0])
    before = makers.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
    if last is None or before is None or before.op_type != "QuantizeLinear" or before.input[0] not in makers:
        return None
    return before, last
