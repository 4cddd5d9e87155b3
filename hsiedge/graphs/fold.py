"""Pass: what is done to the bands of each pixel before the first layer is done by its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.match import Front, find_front
from hsiedge.graphs.preprocessing.rewrite import written


def fold(model: Any) -> Any:
    """Merges scaling, selection and projection of bands into the first convolution or linear layer.

    Requires: float32 from the cast of the input on; weights that are constant.
    Does: takes Add, Sub, Mul, Div by one constant or one a band, BatchNormalization, Gather and Slice of bands, projections
    (1 x 1 Conv, MatMul over bands that lie last) and what moves axes between them as one linear map, in float64; multiplies
    the first layer's weights with it and rounds once. Where that layer has a larger kernel, or takes other axes than bands
    as channels, a projection is the first layer itself. A selection or projection stays where one layer in the place of two
    would take over a quarter more multiplications.
    Ensures: outputs are the same but for the rounding of sums. What is not linear stays, and what comes before it; so does
    what is used elsewhere, an offset before a layer that pads, and, before a kernel that moves along the spectrum, what
    differs from band to band. A graph without anything to merge is returned as it is.
    """
    front = find_front(model)
    rest = None if front is None else _rest(front)
    if front is None or rest is None:
        return model
    made, count = written(model, front, *rest)
    return made if count < len(front.nodes) + (front.layer is not None) else model


def _rest(front: Front) -> tuple[Linear, Array | None, Array | None] | None:
    """The map that the first layer takes in, and the offset and scale of bands that it does not; None where that is all."""
    linear, layer = front.linear, front.layer
    if layer is None or linear.mixes:
        return linear, None, None
    uniform = not layer.shared or np.ptp(linear.matrix) == 0
    if uniform and not (layer.padded and linear.shift.any()) and not (layer.shared and np.ptp(linear.shift)):
        return linear, None, None
    own = linear.zeros()
    if own is None:
        return None
    offset, scale = np.zeros(front.count), np.ones(front.count)
    offset[linear.bands] = own
    nothing = np.zeros_like(linear.shift)
    if uniform:
        return Linear(linear.bands, linear.matrix, nothing), offset, None
    scale[linear.bands] = linear.matrix
    return Linear(linear.bands, np.ones_like(linear.matrix), nothing), offset, scale
