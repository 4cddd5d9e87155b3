"""Rows as a push-broom sensor gives them: what surrounds them is kept, and each is labelled when all around it is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.arguments import PathLike, path_of, whole_number, wrong_type
from hsiedge.errors import ModelError, OptionError
from hsiedge.mapping.model_rows import ModelRows
from hsiedge.mapping.stream import class_probabilities
from hsiedge.runtimes import Model, load_for_rows
from hsiedge.runtimes.row_buffer import RowBuffer
from hsiedge.scenes.adapt import adapt
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.patches import check_patch


class LineClassifier:
    """Labels rows as they come from the sensor, `radius` rows behind it.

    Memory is that of the largest push and one patch height. A patch graph is run at each pixel, a scene graph once a push: with
    it, rows that come together are labelled faster.

    Args:
        model: a model with a Card, or its file.
        width: pixels a row.
        like: a cube as the rows that come are stored (`open_cube`, `Scene.as_cube`): bands and units are made the model's, and
            pixels without data get 0, as in `classify`. Left out, rows are those that the model takes.
        units: of its values, as for `classify`.
        raw: rows are the counts that `like`'s references make reflectance.
        confident: keep the probability of each label (`confidence`).

    Attributes:
        confidence: float32 `(m, width)`, of the labels that were given last; None unless it is kept.

    Raises:
        CardError: the model has no Card.
        SceneError: its patch is wider than a row.
        ModelError: the cube does not fit the model.
        OptionError: a width below 1, or an argument of another type.
    """

    def __init__(
        self,
        model: Model | PathLike,
        width: int,
        *,
        like: Cube | None = None,
        units: str | None = None,
        raw: bool = False,
        confident: bool = False,
    ) -> None:
        if whole_number(width, "width") < 1:
            raise OptionError("1 or more was expected", option="width", value=width)
        model = model if isinstance(model, Model) else load_for_rows(path_of(model, "model"))
        card = model.known
        check_patch(card.patch, (width, width))
        self._model, self._card, self._width = model, card, width
        self._source: ModelRows | None = None
        if like is not None:
            shape = max(like.shape[0], width), width
            cube = replace(like, shape=shape, raw=like.raw if raw else None)
            self._source = ModelRows(model, adapt(card, cube, units))
        references = None if self._source is None else self._source.references
        self._stream = model.stream(width, logits=confident, references=references)
        self._rows = RowBuffer(model, width, references=references) if self._stream is None else None
        self._empty = np.zeros((0, width), bool)
        self._received = 0
        self._ended = False
        self._confident = confident
        self.confidence: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        return f"LineClassifier({str(self._model.path)!r}, {self._width} pixels a line, {self._received} lines taken)"

    def push(self, rows: NDArray[Any]) -> NDArray[np.uint16]:
        """Takes rows `(n, width, bands)` in the stored dtype; gives the label ids `(m, width)` of the rows that are due.

        Returns:
            Fewer rows than came until `radius` rows are held back, whose surroundings are not known yet; then as many.

        Raises:
            ModelError: rows of another size or dtype than the model takes, or some after the end.
            OptionError: no array.
        """
        if not isinstance(rows, np.ndarray):
            raise wrong_type("rows", rows, "an array (n, width, bands)")
        if self._ended:
            raise ModelError("the scene has ended; another one takes another LineClassifier")
        facts = self._card.scene if self._source is None else self._source.stored
        if rows.ndim != 3 or rows.shape[1:] != (self._width, facts.bands) or rows.dtype != np.dtype(facts.dtype):
            takes = f"{facts.dtype} (n, {self._width}, {facts.bands})"
            whose = "the model takes" if self._source is None else "the cube stores"
            one = "; one line is line[None]" if rows.shape == (self._width, facts.bands) else ""
            raise ModelError(f"rows are {rows.dtype} {rows.shape}, {whose} {takes}{one}")
        empty = np.zeros(rows.shape[:2], bool)
        pushed: tuple[NDArray[Any], ...] = (rows,)
        if self._source is not None:
            rows, empty = self._source.take(rows, self._received)
            pushed = self._source.pushed(rows, empty)
        self._empty = np.concatenate([self._empty, empty])
        self._received += len(rows)
        if self._stream is not None:
            return self._streamed(self._stream.push(*pushed))
        assert self._rows is not None
        self._rows.push(*pushed)
        return self._due(self._rows)

    def finish(self) -> NDArray[np.uint16]:
        """The labels `(radius, width)` of the last rows, reflected at the scene's end; none the second time.

        Raises:
            ModelError: fewer rows came than the patch is high.
        """
        if self._received < self._card.patch:
            raise ModelError(f"{self._received} rows are fewer than the model's patch of {self._card.patch}")
        first_time, self._ended = not self._ended, True
        if self._stream is not None:
            return self._streamed(self._stream.finish())
        assert self._rows is not None
        if first_time:
            self._rows.end()
        return self._due(self._rows)

    def _streamed(self, output: NDArray[Any]) -> NDArray[np.uint16]:
        """The labels of rows that an engine has streamed: its labels, or its logits."""
        if self._confident:
            labels = self._model.label_ids(output, axis=0)
            self.confidence = class_probabilities(output, self._card).max(0)
        else:
            labels = output
        labels[self._empty[: len(labels)]] = 0
        self._empty = self._empty[len(labels) :]
        return labels

    def _due(self, rows: RowBuffer) -> NDArray[np.uint16]:
        """The labels of what is surrounded. Rows without any data are not run: a long gap takes no time."""
        due = len(rows)
        labels = np.zeros((due, self._width), np.uint16)
        self.confidence = np.zeros(labels.shape, np.float32) if self._confident else None
        gone = np.all(self._empty[:due], axis=1)
        for first, last in pairwise([0, *(np.flatnonzero(np.diff(gone)) + 1).tolist(), due] if due else []):
            strip = rows.strip(last - first)
            if not gone[first]:
                self._label(strip, slice(first, last), labels)
        labels[self._empty[:due]] = 0
        self._empty = self._empty[due:]
        return labels

    def _label(self, strip: NDArray[Any], place: slice, labels: NDArray[np.uint16]) -> None:
        if self.confidence is None:
            labels[place] = self._model.strip_labels(strip)
            return
        logits = self._model.strip(strip)
        labels[place] = self._model.label_ids(logits, axis=0)
        self.confidence[place] = class_probabilities(logits, self._card).max(0)
