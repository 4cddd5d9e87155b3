"""Rows as a push-broom sensor gives them: what surrounds them is kept, and each is labelled when all around it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.runtimes import Model
from hsiedge.scenes.patches import check_patch, reflected


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
        self._rows = model.prepare(np.zeros((0, len(self._columns), card.scene.bands), card.scene.dtype))
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
        expected, radius = (self._width, self._card.scene.bands), self._card.radius
        if rows.ndim != 3 or rows.shape[1:] != expected or rows.dtype != np.dtype(self._card.scene.dtype):
            takes = f"{self._card.scene.dtype} (n, {expected[0]}, {expected[1]})"
            raise ModelError(f"rows are {rows.dtype} {rows.shape}, the model takes {takes}")
        began = self._received > radius
        self._rows = np.concatenate([self._rows, self._model.prepare(rows)[:, self._columns]])
        self._received += len(rows)
        if not began and self._received > radius:  # what lies above the scene's first row is known now
            self._rows = np.concatenate([self._rows[radius:0:-1], self._rows])
        return self._due()

    def finish(self) -> NDArray[np.uint16]:
        """The labels `(radius, width)` of the last rows, reflected at the scene's end; none the second time.

        Raises:
            ModelError: fewer rows came than the patch is high.
        """
        if self._received < self._card.patch:
            raise ModelError(f"{self._received} rows are fewer than the model's patch of {self._card.patch}")
        if not self._ended:
            self._ended = True
            self._rows = np.concatenate([self._rows, self._rows[-2 : -2 - self._card.radius : -1]])
        return self._due()

    def _due(self) -> NDArray[np.uint16]:
        """The labels of what is surrounded; what the next rows need is kept."""
        strip = self._rows
        due = len(strip) - 2 * self._card.radius
        if due <= 0:
            return np.zeros((0, self._width), np.uint16)
        self._rows = strip[due:].copy()
        return self._model.label_ids(self._model.strip(strip), axis=0)
