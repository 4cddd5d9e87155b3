"""Mapping: label maps of whole scenes, line by line as a push-broom sensor gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.progress import Progress, silent
from hsiedge.runtimes import Model
from hsiedge.scenes.patches import check_patch, cut, reflected

__all__ = ["LineClassifier", "classify"]


class LineClassifier:
    """Labels lines as they come from the sensor, `radius` lines behind it. Memory is that of one patch height of lines.

    Args:
        model: an opened model with a Card.
        width: pixels a line.

    Raises:
        CardError: the model has no Card.
        SceneError: its patch is wider than a line.
    """

    def __init__(self, model: Model, width: int) -> None:
        card = model.known
        check_patch(card.patch, (width, width))
        self._model, self._card, self._width = model, card, width
        self._columns = reflected(np.arange(-card.radius, width + card.radius), width)
        self._lines: dict[int, NDArray[Any]] = {}
        self._received = self._labelled = 0
        self._ended = False

    def push(self, line: NDArray[Any]) -> NDArray[np.uint16] | None:
        """Takes a line `(width, bands)` in the stored dtype; gives the label ids `(width,)` of the next line that is due.

        Returns:
            None for the first `radius` lines, whose surroundings are not known yet.

        Raises:
            ModelError: a line of another size or dtype than the model takes, or one after the end.
        """
        if self._ended:
            raise ModelError("the scene has ended; another one takes another LineClassifier")
        expected = (self._width, self._card.scene.bands)
        if line.shape != expected or line.dtype != np.dtype(self._card.scene.dtype):
            raise ModelError(f"a line is {line.dtype} {line.shape}, the model takes {self._card.scene.dtype} {expected}")
        self._lines[self._received] = self._model.prepare(line.T[:, None, self._columns])  # (bands, 1, width + 2 radius)
        self._received += 1
        return self._label(None) if self._received > self._card.radius else None

    def finish(self) -> list[NDArray[np.uint16]]:
        """The labels of the last `radius` lines, reflected at the scene's end.

        Raises:
            ModelError: fewer lines came than the patch is high.
        """
        if self._received < self._card.patch:
            raise ModelError(f"{self._received} lines are fewer than the model's patch of {self._card.patch}")
        self._ended = True
        return [self._label(self._received) for _ in range(self._received - self._labelled)]

    def _label(self, height: int | None) -> NDArray[np.uint16]:
        """Labels the next line; `height` is known once the scene has ended."""
        radius, line = self._card.radius, self._labelled
        rows = reflected(np.arange(line - radius, line + radius + 1), height or self._received)
        strip = np.concatenate([self._lines[int(row)] for row in rows], axis=1)
        self._labelled += 1
        self._lines.pop(line - radius, None)
        return self._model.label_ids(self._model.run(cut(strip, self._card.patch)))


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
    labels: list[NDArray[np.uint16]] = []
    for count, line in enumerate(cube):
        due = lines.push(np.asarray(line))
        if due is not None:
            labels.append(due)
        progress((count + 1) / len(cube))
    found = np.stack(labels + lines.finish())
    if nodata is not None:
        for row, line in zip(found, cube):
            row[(line == nodata).all(1)] = 0
    return found
