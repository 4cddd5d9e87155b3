"""Mapping: label maps of whole scenes, by rows as a push-broom sensor gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError
from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.mapping.stream import classify_rows
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.scenes.io.cube import Cube

__all__ = ["LineClassifier", "classify"]


def classify(model: Model, cube: NDArray[Any], progress: Progress = silent, nodata: float | None = None) -> NDArray[np.uint16]:
    """The label map `(height, width)` of a cube `(height, width, bands)` in the stored dtype, reflected at its edges.

    Pixels that are `nodata` in a band get label 0; their neighbours see the median of the training pixels in their place.

    Raises:
        CardError: the model has no Card.
        ModelError: the cube does not fit the model.
        SceneError: not a cube, or the patch is wider than it.
    """
    if cube.ndim != 3:
        raise SceneError(f"an array of {cube.shape} is no cube (height, width, bands)")
    strips: list[NDArray[np.uint16]] = []
    source = Cube.of_array(cube, Path("the cube"), nodata=(nodata,) * cube.shape[2])
    classify_rows(model, source, lambda strip: strips.append(strip.labels), progress=progress)
    return np.concatenate(strips)
