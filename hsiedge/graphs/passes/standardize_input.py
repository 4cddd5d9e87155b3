"""Pass: a graph that begins with counts, or with anything linear, begins with its bands standardized, one by one.

`extract_input_affine` takes that affine into the Card, where each band gets the whole range of the integers. A graph that takes
raw counts, or counts / 10000, would give one step to all of them: on Indian Pines 38 counts, and 13 of 200 bands vary by less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.export.attach_card import input_of
from hsiedge.graphs.passes.extract_input_affine import affine_front
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.match import Front, find_front
from hsiedge.graphs.preprocessing.rewrite import written
from hsiedge.scenes.preprocess import fit_affine


def standardize_input(model: Any, spectra: NDArray[Any]) -> Any:
    """The graph as input -> (Cast) -> Sub -> Mul -> first layer, with an offset and a scale a band.

    Requires: a float graph. One that begins so already is returned as it is, and so is one with a step that is not linear
    before the first layer.
    Does: takes what stands before the first layer as one linear map, as `fold` does; puts the mean and deviation of each band
    in front of it, and into the layer's weights and bias what undoes them.
    Ensures: outputs are the same but for the rounding of sums. Where the layer pads, offsets are the graph's own, for its
    zeros must stay zeros; where its kernel moves along the spectrum, all bands share what is added to the graph's own affine.

    Args:
        spectra: training pixels, `(n, bands)` in the stored dtype.
    """
    if affine_front(model) is not None:
        return model
    front = find_front(model)
    if front is None or not takes_input(model, front):
        return model
    affine = _affine(front, spectra)
    if affine is None:
        return model
    offset, scale = affine
    linear = front.linear.behind(offset, scale)
    if front.layer is not None and front.layer.padded:
        linear = Linear(linear.bands, linear.matrix, np.zeros_like(linear.shift))  # but for the offset's rounding
    return written(model, front, linear, offset, scale)[0]


def takes_input(model: Any, front: Front) -> bool:
    """Whether nothing but a cast comes before the front, and nobody else takes what the graph is given."""
    name = input_of(model).name
    takers = [node for node in model.graph.node if name in node.input]
    cast = [node.output[0] for node in takers if node.op_type == "Cast"]
    return len(takers) == 1 and front.start in (name, *cast)


def _affine(front: Front, spectra: NDArray[Any]) -> tuple[Array, Array] | None:
    """Offset and scale `(bands,)` that the first layer can undo; None where there are none."""
    fitted = fit_affine(spectra)
    varies = fitted.scale > 0
    least = fitted.scale[varies].min() if varies.any() else 1.0
    offset, scale = fitted.offset.astype(np.float64), np.where(varies, fitted.scale, least).astype(np.float64)
    layer, linear = front.layer, front.linear
    if layer is None or not (layer.padded or layer.shared):
        return offset, scale
    own = np.zeros(len(linear.bands)) if linear.mixes else linear.zeros()  # mixed, they go without a shift into what pads
    if own is None:
        return None
    centred = spectra[:, linear.bands].astype(np.float64) - own
    if layer.shared:
        values = centred * linear.matrix
        middle = 0.0 if layer.padded else values.mean()
        offset[linear.bands] = own + middle / linear.matrix
        scale[linear.bands] = linear.matrix / (np.sqrt(np.square(values - middle).mean()) or 1.0)
    else:
        size = np.sqrt(np.square(centred).mean(0))
        offset[linear.bands], scale[linear.bands] = own, 1 / np.where(size > 0, size, 1.0)
    return offset, scale
