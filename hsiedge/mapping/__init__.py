"""Mapping: label maps of whole scenes, by rows as a push-broom sensor gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.mapping.lines import LineClassifier
from hsiedge.mapping.stream import filled, no_data
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.runtimes.base import STRIP_PIXELS
from hsiedge.scenes.patches import check_patch

__all__ = ["LineClassifier", "classify"]


def classify(model: Model, cube: NDArray[Any], progress: Progress = silent, nodata: float | None = None) -> NDArray[np.uint16]:
    """The label map `(height, width)` of a cube `(height, width, bands)` in the stored dtype, reflected at its edges.

    Pixels that are `nodata` in all bands get label 0; their neighbours see the median of the training pixels in their place.

    Raises:
        CardError: the model has no Card.
        ModelError: the cube does not fit the model.
        SceneError: the patch is wider than the cube.
    """
    check_patch(model.known.patch, (cube.shape[0], cube.shape[1]))
    lines = LineClassifier(model, cube.shape[1])
    tall = max(1, STRIP_PIXELS // cube.shape[1])
    labels: list[NDArray[np.uint16]] = []
    empty: list[NDArray[np.bool_]] = []
    for first in range(0, len(cube), tall):
        rows = np.asarray(cube[first : first + tall])
        empty.append(no_data(rows, nodata))
        labels.append(lines.push(filled(rows, empty[-1], model.known)))
        progress(min(1.0, (first + tall) / len(cube)))
    found = np.concatenate([*labels, lines.finish()])
    found[np.concatenate(empty)] = 0
    return found
