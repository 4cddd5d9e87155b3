"""Pass: an integer scene graph takes rows as a sensor gives them, bands last; integer kernels want them so, too."""

from __future__ import annotations

import copy
from typing import Any


def channels_last_input(model: Any) -> Any:
    """Takes `(1, height, width, bands)` in the place of `(1, bands, height, width)`.

    Requires: a scene graph: one input of rank 4, its first size 1, its height and width free. Any other is returned as it is.
    Does: puts a Transpose behind the input. onnxruntime's integer convolutions work with channels last, so that it cancels
    the one that onnxruntime would put there.
    Ensures: nothing else changes.
    """
    from onnx import helper

    sizes = model.graph.input[0].type.tensor_type.shape.dim
    if len(sizes) != 4 or sizes[0].dim_value != 1 or sizes[2].dim_value or sizes[3].dim_value:
        return model
    made = copy.deepcopy(model)
    taken = made.graph.input[0]
    planes = f"{taken.name}_planes"
    for node in made.graph.node:
        for place, name in enumerate(node.input):
            if name == taken.name:
                node.input[place] = planes
    made.graph.node.insert(0, helper.make_node("Transpose", [taken.name], [planes], name=planes, perm=[0, 3, 1, 2]))
    bands, *space = (copy.deepcopy(size) for size in list(sizes)[1:])
    for place, size in enumerate((*space, bands), 1):
        taken.type.tensor_type.shape.dim[place].CopyFrom(size)
    return made
