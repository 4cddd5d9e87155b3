"""Maps as pictures: the ground truth beside a model's labels, with a legend of class names."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hsiedge.mapping.palette import paint
from hsiedge.mapping.picture import STYLE, legend
from hsiedge.words import shown


def comparison_png(
    truth: NDArray[np.uint16], predicted: NDArray[np.uint16], classes: dict[int, str], titles: tuple[str, str]
) -> bytes:
    """PNG of two label maps `(height, width)` side by side under `titles`, with the classes named below."""
    with matplotlib.rc_context(STYLE):
        height, width = truth.shape
        rows = -(-(len(classes) + 1) // 4)
        picture = 4.6 * min(2.0, height / width)
        figure = Figure(figsize=(9.6, picture + 0.5 + 0.24 * rows), dpi=150, layout="constrained")
        for axes, labels, title in zip(figure.subplots(1, 2), (truth, predicted), titles):
            axes.imshow(paint(labels, classes), interpolation="nearest")
            axes.set_title(shown(title), fontsize=10)
            axes.set_axis_off()
        handles = legend(classes, classes, "unlabelled" if (truth == 0).any() else None)
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8, handlelength=1.2)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
