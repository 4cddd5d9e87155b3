"""Mapping: label maps of whole scenes, by rows as a push-broom sensor gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.runtimes.base import STRIP_PIXELS
from hsiedge.scenes.patches import check_patch, reflected

__all__ = ["LineClassifier", "classify"]


class LineClassifier:
    """Labels rows as they come from the sensor, `radius` rows behind it. Memory is that of one push and one patch height.

    A patch graph is run at each pixel, a scene graph once a push: with it, rows that come together are labelled faster.

    Args:
        model: an opened model with a Card.
        width: pixels a row.

    Raises:
        CardError: the model has no Card.
        SceneError: its patch is wider than a row.
    """

    def __init__(self, model: Model, width: int) -> None:
        card = model.known
        check_patch(card.patch, (width, width))
        self._model, self._card, self._width = model, card, width
        self._columns = reflected(np.arange(-card.radius, width + card.radius), width)
        self._planes = model.prepare(np.zeros((card.scene.bands, 0, len(self._columns)), card.scene.dtype))
        self._received = 0
        self._ended = False

    def push(self, rows: NDArray[Any]) -> NDArray[np.uint16]:
        """Takes rows `(n, width, bands)` in the stored dtype; gives the label ids `(m, width)` of the rows that are due.

        Returns:
            Fewer rows than came until `radius` rows are held back, whose surroundings are not known yet; then as many.

        Raises:
            ModelError: rows of another size or dtype than the model takes, or some after the end.
        """
        if self._ended:
            raise ModelError("the scene has ended; another one takes another LineClassifier")
        expected = (self._width, self._card.scene.bands)
        if rows.ndim != 3 or rows.shape[1:] != expected or rows.dtype != np.dtype(self._card.scene.dtype):
            takes = f"{self._card.scene.dtype} (n, {expected[0]}, {expected[1]})"
            raise ModelError(f"rows are {rows.dtype} {rows.shape}, the model takes {takes}")
        began = self._received > self._card.radius
        planes = np.ascontiguousarray(rows.transpose(2, 0, 1)[:, :, self._columns])
        self._planes = np.concatenate([self._planes, self._model.prepare(planes)], axis=1)
        self._received += len(rows)
        if not began and self._received > self._card.radius:  # what lies above the scene's first row is known now
            above = self._planes[:, self._card.radius : 0 : -1]
            self._planes = np.concatenate([above, self._planes], axis=1)
        return self._label()

    def finish(self) -> NDArray[np.uint16]:
        """The labels `(radius, width)` of the last rows, reflected at the scene's end.

        Raises:
            ModelError: fewer rows came than the patch is high.
        """
        if self._received < self._card.patch:
            raise ModelError(f"{self._received} rows are fewer than the model's patch of {self._card.patch}")
        if self._ended:
            return np.zeros((0, self._width), np.uint16)
        self._ended = True
        below = self._planes[:, -2 : -2 - self._card.radius : -1]
        self._planes = np.concatenate([self._planes, below], axis=1)
        return self._label()

    def _label(self) -> NDArray[np.uint16]:
        """Labels what is surrounded, and keeps what the next rows need."""
        due = self._planes.shape[1] - 2 * self._card.radius
        if self._received <= self._card.radius or due <= 0:
            return np.zeros((0, self._width), np.uint16)
        labels = self._model.label_ids(self._model.strip(self._planes), axis=0)
        self._planes = self._planes[:, due:].copy()
        return labels


def classify(model: Model, cube: NDArray[Any], progress: Progress = silent, nodata: float | None = None) -> NDArray[np.uint16]:
    """The label map `(height, width)` of a cube `(height, width, bands)` in the stored dtype, reflected at its edges.

    Pixels that are `nodata` in all bands get label 0.

    Raises:
        CardError: the model has no Card.
        ModelError: the cube does not fit the model.
        SceneError: the patch is wider than the cube.
    """
    check_patch(model.known.patch, (cube.shape[0], cube.shape[1]))
    lines = LineClassifier(model, cube.shape[1])
    tall = max(1, STRIP_PIXELS // cube.shape[1])
    labels: list[NDArray[np.uint16]] = []
    for first in range(0, len(cube), tall):
        labels.append(lines.push(np.asarray(cube[first : first + tall])))
        progress(min(1.0, (first + tall) / len(cube)))
    found = np.concatenate([*labels, lines.finish()])
    if nodata is not None:
        for row, line in zip(found, cube):
            row[(line == nodata).all(1)] = 0
    return found
