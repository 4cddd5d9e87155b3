"""Colours of classes: the same in pictures, GeoTIFF palettes and ENVI headers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNLABELLED = "#e6e6e6"
# Twenty hues told apart side by side, fields and woods in greens, water and shadow dark; reused in order beyond twenty.
PALETTE = (
    "#e6194b", "#f5a623", "#ffd93b", "#8b572a", "#7ed321", "#2e8b2e", "#b8e986", "#f58ac9", "#4a4a4a", "#4a90e2",
    "#1f4fa0", "#50e3c2", "#c9a66b", "#0f5132", "#9013fe", "#c0c0ff", "#ff6f3c", "#00a3a3", "#a8324a", "#6b7a8f",
)  # fmt: skip


def colours(classes: dict[int, str]) -> dict[int, str]:
    """A colour for each label id, by the class's place."""
    return {label: PALETTE[place % len(PALETTE)] for place, label in enumerate(classes)}


def paint(labels: NDArray[np.unsignedinteger], classes: dict[int, str]) -> NDArray[np.uint8]:
    """uint8 RGB `(height, width, 3)` of a label map; ids that are no class stay grey."""
    table = np.empty((max(int(labels.max()), *classes) + 1, 3), np.uint8)
    table[:] = rgb(UNLABELLED)
    for label, colour in colours(classes).items():
        table[label] = rgb(colour)
    painted: NDArray[np.uint8] = table[labels]
    return painted


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
