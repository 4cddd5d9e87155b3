"""Rows of a cube on their way to a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.runtimes import Model
from hsiedge.scenes.adapt import AdaptedCube


class ModelRows:
    """Rows of a cube on their way to a model: raw counts with their references, where it takes such; else in its units.

    Attributes:
        stored: the cube as its file has it, counts where `fit.cube` is reflectance that is made of them.
        references: that the model is to be given with the rows; None where they are what it takes.
    """

    def __init__(self, model: Model, fit: AdaptedCube) -> None:
        self._fit, self._raw = fit, fit.cube.raw
        self.stored = fit.cube if self._raw is None else self._raw.cube
        self.references = fit.references if model.takes_raw_rows else None

    def read(self, first: int, count: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows, and which of their pixels `(n, width)` hold no data; as `AdaptedCube.read`, but for raw ones."""
        return self.take(self.stored.read(first, count), first)

    def take(self, stored: NDArray[Any], first: int = 0) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows as the file stores them, from row `first` on, made what `read` gives."""
        if self._raw is None:
            return self._fit.take(stored, first)
        if self.references is None:
            return self._fit.take(self._raw.reflectance(stored, first), first)
        return stored, self._raw.missing(stored, first)

    def pushed(self, rows: NDArray[Any], empty: NDArray[np.bool_]) -> tuple[NDArray[Any], ...]:
        """Arguments of a push: the rows, and of raw ones those pixels that hold no data, where there are some."""
        return (rows,) if self.references is None or not empty.any() else (rows, empty)
