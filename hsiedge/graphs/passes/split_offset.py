"""Pass: the per-band offset as two float16 numbers. One has no more than 11 bits, too few for counts."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from hsiedge.graphs.edit import array_of, constant, insert_before, name_of, operator, taken
from hsiedge.graphs.passes.extract_input_affine import affine_nodes
from hsiedge.graphs.passes.graph_pass import GraphPass

_LARGEST_HALF = 65504.0


class SplitOffset(GraphPass):
    """Subtracts the offset of each band in two parts, one after the other, both nearly float16 numbers.

    Requires: nothing; a graph that does not begin with a per-band affine stays as it is.
    Does: puts a Sub of the offset rounded to float16 before the Sub that is there, which takes what is left.
    Ensures: outputs are the same but for the rounding of sums, where a converter stores both parts as float16, too.
    """

    def rewrite(self, model: ir.Model) -> str:
        nodes = affine_nodes(model.graph)
        if nodes is None:
            return ""
        subtract = nodes[-2]
        value, offset = taken(subtract, 1), array_of(subtract.inputs[1])
        assert offset is not None
        coarse = np.clip(offset, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).astype(np.float32)
        parts = {
            name: constant(model.graph, f"{name_of(value)}_{name}", part)
            for name, part in (("coarse", coarse), ("fine", offset - coarse))
        }
        between = operator("Sub", [taken(subtract), parts["coarse"]], f"{name_of(subtract.outputs[0])}_coarse")
        insert_before(subtract, [between])
        subtract.replace_input_with(0, between.outputs[0])
        subtract.replace_input_with(1, parts["fine"])
        return f"offsets of {offset.size} bands are subtracted in two parts"
