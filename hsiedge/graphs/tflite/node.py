"""A node of the ONNX graph, what it takes already lowered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs.tflite.tensor_view import Held, UnfitError

Entry = Held | NDArray[Any] | None


@dataclass(frozen=True)
class Node:
    """A node of the ONNX graph, what it takes already lowered.

    Attributes:
        integer: whether the graph is going to be an integer one: weights are rounded then, and means are convolutions.
    """

    kind: str
    inputs: list[Entry]
    attributes: dict[str, Any]
    integer: bool

    def held(self, place: int = 0) -> Held:
        """An input that is computed."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(entry, Held):
            raise UnfitError(f"input {place} is not computed from the graph's input")
        return entry

    def constant(self, place: int) -> NDArray[Any]:
        """An input that is known."""
        entry = self.optional(place)
        if entry is None:
            raise UnfitError(f"input {place} is not constant")
        return entry

    def optional(self, place: int) -> NDArray[Any] | None:
        """An input that is known, or left out."""
        entry = self.inputs[place] if place < len(self.inputs) else None
        if isinstance(entry, Held):
            raise UnfitError(f"input {place} is not constant")
        return entry

    def ints(self, name: str, default: Sequence[int]) -> list[int]:
        return [int(value) for value in self.attributes.get(name, default)]

    def numbers(self, place: int, name: str) -> list[int] | None:
        """Integers that are an input in newer opsets, and an attribute in older ones."""
        if name in self.attributes:
            return self.ints(name, ())
        entry = self.optional(place)
        return None if entry is None else [int(value) for value in np.ravel(entry)]
