"""Pass: calibration as if values far outside of what spectra are were cut off. One dead pixel must not widen every range."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.passes.extract_input_affine import affine_front

FAR = 4.0
_CORE = (0.1, 99.9)  # percentiles


def without_outliers(model: Any, spectra: NDArray[Any]) -> Any:
    """A graph to calibrate on, in which standardized values end where the integers of the deployed graph will.

    One pixel of Salinas-A lies 812 standard deviations off in one band. It is in no class, but in the patches of labelled
    pixels around it, and one range for all of it would leave the other bands 1 step for 3 standard deviations.

    Requires: a float graph that begins input -> (Cast) -> Sub -> Mul; any other is returned as it is.
    Does: clips what Mul makes to FAR times the 0.1 and 99.9 percentiles of `spectra`, over all bands.
    Ensures: outputs change only where a patch holds values beyond.

    Args:
        spectra: those that are labelled, `(n, bands)` in the stored dtype.
    """
    from onnx import helper, numpy_helper

    front = affine_front(model)
    if front is None:
        return model
    made = copy.deepcopy(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    offset, scale = (values[node.input[1]].ravel() for node in front[-2:])
    low, high = FAR * np.percentile((spectra.astype(np.float32) - offset) * scale, _CORE)
    name = front[-1].output[0]
    place = next(place for place, node in enumerate(made.graph.node) if node.output[0] == name)
    made.graph.node[place].output[0] = f"{name}_all"
    limits = {f"{name}_low": low, f"{name}_high": high}
    made.graph.initializer.extend(numpy_helper.from_array(np.float32(value), key) for key, value in limits.items())
    made.graph.node.insert(place + 1, helper.make_node("Clip", [f"{name}_all", *limits], [name], name=f"{name}_clip"))
    del made.graph.value_info[:]
    return made
