"""Pass: a graph that begins with counts, or with anything linear, begins with its bands standardized, one by one.

`ExtractInputAffine` takes that affine into the Card, where each band gets the whole range of the integers. A graph that takes
raw counts, or counts / 10000, would give one step to all of them: on Indian Pines 38 counts, and 13 of 200 bands vary by less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.passes.extract_input_affine import affine_nodes
from hsiedge.graphs.passes.graph_pass import GraphPass
from hsiedge.graphs.preprocessing.band_map import Array, Linear
from hsiedge.graphs.preprocessing.match import Preprocessing, find_preprocessing
from hsiedge.graphs.preprocessing.rewrite import rewrite
from hsiedge.scenes.preprocess import fit_affine


class StandardizeInput(GraphPass):
    """Makes the graph input -> (Cast) -> Sub -> Mul -> first layer, with an offset and a scale a band.

    Requires: nothing; a graph that begins so already stays as it is, and so does one with a step that is not linear before the
    first layer.
    Does: takes what stands before the first layer as one linear map; puts the mean and deviation of each band in front of it,
    and into the layer's weights and bias what undoes them.
    Ensures: outputs are the same but for the rounding of sums. Where the layer pads, offsets are the graph's own, for its
    zeros must stay zeros; where its kernel moves along the spectrum, all bands share what is added to the graph's own affine.

    Args:
        spectra: training pixels, `(n, bands)` in the stored dtype.
    """

    def __init__(self, spectra: NDArray[Any]) -> None:
        self._spectra = spectra

    def rewrite(self, model: ir.Model) -> str:
        preprocessing = None if affine_nodes(model.graph) is not None else find_preprocessing(model)
        if preprocessing is None or not takes_input(model.graph, preprocessing):
            return ""
        affine = _affine(preprocessing, self._spectra)
        if affine is None:
            return ""
        _standardize(model, preprocessing, *affine)
        return f"{preprocessing.count} bands are standardized before the first layer, which undoes it"


def takes_input(graph: ir.Graph, preprocessing: Preprocessing) -> bool:
    """Tells whether nothing but a cast comes before the preprocessing, and nobody else takes what the graph is given."""
    value = next(entry for entry in graph.inputs if not entry.is_initializer())  # older files list their weights, too
    takers = value.consumers()
    starts = [value.name, *(node.outputs[0].name for node in takers if node.op_type == "Cast")]
    return len(takers) == 1 and preprocessing.start in starts


def _standardize(model: ir.Model, preprocessing: Preprocessing, offset: Array, scale: Array) -> None:
    linear = preprocessing.linear.behind(offset, scale)
    if preprocessing.layer is not None and preprocessing.layer.padded:
        linear = Linear(linear.bands, linear.matrix, np.zeros_like(linear.shift))  # but for the offset's rounding
    rewrite(model, preprocessing, linear, offset, scale)


def _affine(preprocessing: Preprocessing, spectra: NDArray[Any]) -> tuple[Array, Array] | None:
    """Offset and scale `(bands,)` that the first layer can undo; None where there are none."""
    fitted = fit_affine(spectra)
    varies = fitted.scale > 0
    least = fitted.scale[varies].min() if varies.any() else 1.0
    offset, scale = fitted.offset.astype(np.float64), np.where(varies, fitted.scale, least).astype(np.float64)
    layer, linear = preprocessing.layer, preprocessing.linear
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
