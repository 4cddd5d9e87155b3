"""The float pipeline on a graph that was just read: what calibration starts from."""

from __future__ import annotations

from typing import Any

from hsiedge.graphs.onnx_io import name_nodes
from hsiedge.graphs.passes import FLOAT, apply
from hsiedge.graphs.passes.standardize_input import StandardizeInput


def float_passes(model: Any, spectra: Any) -> Any:
    """A float graph as it is calibrated, on counts `(n, bands)`."""
    return apply(name_nodes(model), StandardizeInput(spectra), *FLOAT)
