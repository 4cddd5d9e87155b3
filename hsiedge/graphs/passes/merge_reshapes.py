"""Pass: moves that leave the order of values alone are one Reshape. In a small net each node costs as much as arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.edit import (
    RESHAPES,
    constant,
    drop_unused,
    insert_before,
    name_of,
    operator,
    replace_value,
    sizes_of,
)
from hsiedge.graphs.passes.graph_pass import GraphPass


class MergeReshapes(GraphPass):
    """Joins moves that leave the order of values alone.

    Requires: nothing.
    Does: Flatten, Reshape, Squeeze, Unsqueeze and a Gather of the only place there is become a Reshape of what the first of
    them took, where all sizes but one are known.
    Ensures: values are the same; nodes that nobody takes anything of are gone.
    """

    def rewrite(self, model: ir.Model) -> str:
        before, sizes = len(model.graph), sizes_of(model)
        starts: dict[ir.Value, ir.Value] = {}
        for node in list(model.graph):
            source = node.inputs[0] if node.inputs else None
            if source is None or not _keeps_order(node, sizes.get(name_of(source)), sizes.get(name_of(node.outputs[0]))):
                continue
            name, start = name_of(node.outputs[0]), starts.get(source, source)
            target = constant(model.graph, f"{name}_sizes", np.array(sizes[name], np.int64))
            reshape = operator("Reshape", [start, target], name, f"{name}_reshaped")
            insert_before(node, [reshape])
            replace_value(node.outputs[0], reshape.outputs[0])
            starts[reshape.outputs[0]] = start
        drop_unused(model)
        fewer = before - len(model.graph)
        return f"{len(starts)} moves are reshapes, {fewer} nodes fewer" if starts or fewer else ""


def _keeps_order(node: ir.Node, before: Sequence[int] | None, after: Sequence[int] | None) -> bool:
    if before is None or after is None or node.op_type not in (*RESHAPES, "Gather"):
        return False
    if max(before.count(-1), after.count(-1)) > 1 or math.prod(before) != math.prod(after):
        return False
    return node.op_type != "Gather" or before[node.attributes.get_int("axis", 0)] == 1
