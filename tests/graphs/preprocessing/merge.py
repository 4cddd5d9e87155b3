"""Merges what a graph does to its bands into its first layer: all that `preprocessing/` can do, at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsiedge.graphs.passes import read, write
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.match import Preprocessing, find_preprocessing
from hsiedge.graphs.preprocessing.rewrite import rewrite


def merged(model: Any) -> Any:
    """The `onnx.ModelProto` with its preprocessing in the first layer's weights; itself where there is nothing to merge.

    What is not linear stays, and what comes before it; so does what is used elsewhere, an offset before a layer that pads,
    and, before a kernel that moves along the spectrum, what differs from band to band.
    """
    work = read(model)
    front = find_preprocessing(work)
    rest = None if front is None else _rest(front)
    if front is None or rest is None:
        return model
    count = rewrite(work, front, *rest)
    return write(work) if count < len(front.nodes) + (front.layer is not None) else model


def _rest(front: Preprocessing) -> tuple[Linear, Array | None, Array | None] | None:
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
