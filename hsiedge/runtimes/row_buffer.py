"""The rows of a scene that strips are cut from, as they come from the sensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.native.input_step import ReferenceTables
from hsiedge.runtimes.model import Model
from hsiedge.scenes.cubes import reflected


class RowBuffer:
    """Prepared rows and what surrounds them. Each row is prepared once, straight into its place, and its place is taken when
    no strip needs it any more: memory is that of the largest push and one patch height.

    What lies beyond the scene's edges is reflected: columns always, rows above the first one and, once it is said to be the
    last, below it.

    Args:
        model: with a Card.
        width: pixels a row.
        above: rows to be reflected above the first that comes, its radius at most; None for its radius, as at a scene's edge.
        references: of raw rows.
    """

    def __init__(self, model: Model, width: int, above: int | None = None, references: ReferenceTables | None = None) -> None:
        card = model.known
        self._references = references
        self._model, self._width, self._radius = model, width, card.radius
        beside = np.arange(card.radius)
        self._left, self._right = (card.radius + reflected(places, width) for places in (beside - card.radius, width + beside))
        self._awaited = card.radius if above is None else above  # rows above, of which nothing is known yet
        self._rows = np.empty((self._awaited, width + 2 * card.radius, card.scene.bands), model.prepared_dtype)
        self._first, self._end = 0, self._awaited  # of the rows that are held

    def __len__(self) -> int:
        """Rows that are surrounded: a strip may have so many."""
        return 0 if self._awaited else max(0, self._end - self._first - 2 * self._radius)

    def push(self, rows: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> None:
        """Takes the next rows, `(n, width, bands)` in the stored dtype; of raw ones, which pixels `(n, width)` hold no data."""
        radius, width = self._radius, self._width
        added = self._room(len(rows))
        self._model.prepare(rows, added[:, radius : radius + width], self._references, empty)
        added[:, :radius] = added[:, self._left]
        added[:, radius + width :] = added[:, self._right]
        above = self._awaited
        if above and self._end > 2 * above:
            self._rows[:above] = self._rows[2 * above : above : -1]
            self._awaited = 0

    def end(self) -> None:
        """Says that no row will come: those below the last are reflected. At least a patch height of them came."""
        below, radius = self._room(self._radius), self._radius
        below[:] = self._rows[self._first : self._end - radius][-2 : -2 - radius : -1]

    def strip(self, count: int) -> NDArray[Any]:
        """The next `count` rows with their halo, `(count + 2 radius, width + 2 radius, bands)`; the next push may move them."""
        first = self._first
        self._first += count
        return self._rows[first : self._first + 2 * self._radius]

    def _room(self, count: int) -> NDArray[Any]:
        """Place for so many rows behind those that are held. Where there is none, what is held moves to the front."""
        held = self._rows[self._first : self._end]
        if self._end + count > len(self._rows):
            needed = len(held) + count
            if needed > len(self._rows):
                self._rows = np.empty((len(held) + max(count, len(held)), *held.shape[1:]), held.dtype)
            self._rows[: len(held)] = held
            self._first, self._end = 0, len(held)
        self._end += count
        return self._rows[self._end - count : self._end]
