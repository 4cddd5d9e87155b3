"""A picture of a training's log: loss and validation accuracy of each epoch. Needs matplotlib, the extra `[report]`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hsiedge.mapping.picture import STYLE

if TYPE_CHECKING:
    from hsiedge.training.run import Epoch


def log_png(epochs: Sequence[Epoch]) -> bytes:
    """PNG of the loss by epoch, a line a fit; and of OA on validation pixels beside it, where there is any."""
    judged = [epoch for epoch in epochs if epoch.validation_oa is not None]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6 if judged else 4.8, 3.4), dpi=150, layout="constrained")
        panels = [("loss", [(epoch.fit, epoch.number, epoch.loss) for epoch in epochs])]
        if judged:
            panels.append(
                ("OA of validation pixels, %", [(epoch.fit, epoch.number, epoch.validation_oa or 0.0) for epoch in judged])
            )
        colours = {fit: f"C{place % 10}" for place, fit in enumerate(dict.fromkeys(epoch.fit for epoch in epochs))}
        for axes, (title, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            for fit, colour in colours.items():
                line = [(number, value) for name, number, value in points if name == fit]
                if line:
                    axes.plot(*zip(*_broken(line)), label=fit, color=colour, marker="." if len(line) < 30 else "")
            axes.set_xlabel("epoch")
            axes.set_title(title, fontsize=10)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
            if len(colours) > 1:
                axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _broken(line: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """The points of a line, which ends where epochs begin again: two fits have the same name."""
    points: list[tuple[float, float]] = []
    for number, value in line:
        if points and number <= points[-1][0]:
            points.append((float("nan"), float("nan")))
        points.append((number, value))
    return points
