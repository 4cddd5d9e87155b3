"""Pass: an integer scene graph takes rows as a sensor gives them, bands last; integer kernels want them so, too."""

from __future__ import annotations

import onnx_ir as ir

from hsiedge.graphs.edit import name_of, operator
from hsiedge.graphs.passes.extract_input_affine import input_affine
from hsiedge.graphs.passes.graph_pass import GraphPass


class ChannelsLastInput(GraphPass):
    """Takes `(1, height, width, bands)` in the place of `(1, bands, height, width)`.

    Requires: nothing; a graph of another input stays as it is, and so does one that takes counts, not integers.
    Does: where the one input of a scene graph has rank 4, its first size 1, its height and width free, puts a Transpose behind
    it. onnxruntime's integer convolutions work with channels last, so that it cancels the one that onnxruntime would put there.
    Ensures: nothing else changes.
    """

    def rewrite(self, model: ir.Model) -> str:
        value = model.graph.inputs[0]
        sizes = value.shape
        if input_affine(model) is None or sizes is None or len(sizes) != 4:
            return ""
        one, bands, height, width = sizes
        if one != 1 or isinstance(height, int) or isinstance(width, int):
            return ""
        planes = operator("Transpose", [value], f"{name_of(value)}_planes", perm=[0, 3, 1, 2])
        value.replace_all_uses_with(planes.outputs[0])
        planes.replace_input_with(0, value)
        model.graph.insert_before(model.graph[0], planes)
        value.shape = ir.Shape([one, height, width, bands])
        return "the input has its bands last"
