"""Maps as pictures: the ground truth beside what a model says, with a legend of class names."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
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


def paint(labels: NDArray[np.uint16], classes: dict[int, str]) -> NDArray[np.uint8]:
    """uint8 RGB `(height, width, 3)` of a label map; ids that are no class stay grey."""
    table = np.empty((max(int(labels.max()), *classes) + 1, 3), np.uint8)
    table[:] = _rgb(UNLABELLED)
    for label, colour in colours(classes).items():
        table[label] = _rgb(colour)
    return table[labels]


def comparison_png(
    truth: NDArray[np.uint16], predicted: NDArray[np.uint16], classes: dict[int, str], titles: tuple[str, str]
) -> bytes:
    """PNG: two label maps `(height, width)` side by side under `titles`, classes named below."""
    with matplotlib.rc_context({"font.family": "sans-serif", "font.size": 9, "figure.facecolor": "white"}):
        height, width = truth.shape
        rows = -(-(len(classes) + 1) // 4)
        picture = 4.6 * min(2.0, height / width)
        figure = Figure(figsize=(9.6, picture + 0.5 + 0.24 * rows), dpi=150, layout="constrained")
        for axes, labels, title in zip(figure.subplots(1, 2), (truth, predicted), titles):
            axes.imshow(paint(labels, classes), interpolation="nearest")
            axes.set_title(title, fontsize=10)
            axes.set_axis_off()
        handles = [Patch(color=UNLABELLED, label="unlabelled")] if (truth == 0).any() else []
        handles += [Patch(color=colour, label=f"{label} {classes[label]}") for label, colour in colours(classes).items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8, handlelength=1.2)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
