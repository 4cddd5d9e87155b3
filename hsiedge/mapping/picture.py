"""A map as a picture, with a legend of class names. Needs matplotlib, the extra `[report]`."""

from __future__ import annotations

import io
from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hsiedge import words
from hsiedge.mapping.palette import UNLABELLED, colours, paint

STYLE = {"font.family": "sans-serif", "font.size": 9, "figure.facecolor": "white", "text.parse_math": False}
_INCHES, _DPI, _LEGEND = 6.4, 150, 3
_LONGEST = 40  # characters of a name in the legend


def legend(classes: dict[int, str], shown: Iterable[int], grey: str | None) -> list[Patch]:
    """A patch of colour for each class that is shown, and one of grey where `grey` names what it stands for."""
    handles = [Patch(color=UNLABELLED, label=grey)] if grey else []
    table = colours(classes)
    return handles + [Patch(color=table[label], label=f"{label} {words.shown(classes[label], _LONGEST)}") for label in shown]


def map_png(labels: NDArray[np.unsignedinteger], classes: dict[int, str]) -> bytes:
    """PNG of a label map `(height, width)`, classes that are in it named below; a pixel of it is a pixel or more."""
    shown = {label: title for label, title in classes.items() if (labels == label).any()}
    with matplotlib.rc_context(STYLE):
        height, width = labels.shape
        rows = -(-(len(shown) + 1) // _LEGEND)
        across = max(_INCHES, width / _DPI)
        figure = Figure(figsize=(across, across * height / width + 0.26 * rows + 0.1), dpi=_DPI, layout="constrained")
        axes = figure.subplots()
        axes.imshow(paint(labels, classes), interpolation="nearest")
        axes.set_axis_off()
        handles = legend(classes, shown, "unknown" if (labels == 0).any() else None)
        figure.legend(handles=handles, loc="outside lower center", ncols=_LEGEND, frameon=False, fontsize=8, handlelength=1.2)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
