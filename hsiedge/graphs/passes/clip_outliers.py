"""Pass: calibration as if values far outside of what spectra are were cut off. One dead pixel must not widen every range."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.graphs.edit import constant, name_of, operator, replace_value
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values
from hsiedge.graphs.passes.graph_pass import GraphPass

FAR = 4.0
_CORE = (0.1, 99.9)  # percentiles


class ClipOutliers(GraphPass):
    """Makes a graph to calibrate on, in which standardized values end where the integers of the deployed graph will.

    One pixel of Salinas-A lies 812 standard deviations off in one band. It is in no class, but in the patches of labelled
    pixels around it, and one range for all of it would leave the other bands 1 step for 3 standard deviations.

    Requires: nothing; a graph that does not begin input -> (Cast) -> Sub -> Mul stays as it is.
    Does: clips what Mul makes to FAR times the 0.1 and 99.9 percentiles of `spectra`, over all bands.
    Ensures: outputs change only where a patch holds values beyond.

    Args:
        spectra: those that are labelled, `(n, bands)` in the stored dtype.
    """

    def __init__(self, spectra: NDArray[Any]) -> None:
        self._spectra = spectra

    def rewrite(self, model: ir.Model) -> str:
        nodes = affine_nodes(model.graph)
        if nodes is None:
            return ""
        offset, scale = (np.array(values, np.float32) for values in affine_values(nodes))
        low, high = FAR * np.percentile((self._spectra.astype(np.float32) - offset) * scale, _CORE)
        value, name = nodes[-1].outputs[0], name_of(nodes[-1].outputs[0])
        limits = [constant(model.graph, f"{name}_{end}", np.float32(limit)) for end, limit in (("low", low), ("high", high))]
        clip = operator("Clip", [value, *limits], name, f"{name}_clip")
        replace_value(value, clip.outputs[0])
        clip.replace_input_with(0, value)
        value.name = f"{name}_all"
        model.graph.insert_after(nodes[-1], clip)
        return f"calibration clips standardized values to {low:.1f} and {high:.1f}"
