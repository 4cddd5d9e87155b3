"""A search for a budget that takes seconds, on a small teacher and real pixels; as a program, one that can be killed.

python -m tests.compression.quick_search STATE TRIED.json
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hsiedge.compression import budget as module
from hsiedge.compression.budget import Budget, Compressed, compress
from hsiedge.progress import Progress, silent
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split, draw
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.fit import FitSettings
from hsiedge.training.run import running
from hsiedge.training.train import train
from tests import workstation

SIZE = 9000
QUICK: dict[str, Any] = {
    "DISTILLING": FitSettings(epochs=2),
    "FINETUNING": FitSettings(epochs=1),
    "AWARE": FitSettings(epochs=1, rate=5e-4),
    "SHAPES": module.SHAPES[3::4],
    "RATIOS": module.RATIOS[3::4],
}
"""The same roads, walked in seconds."""
ONE: dict[str, Any] = {"SHAPES": module.SHAPES[-1:], "RATIOS": (), "DISTILLING": FitSettings(epochs=16)}
"""One student, whose training takes long enough to be met in its midst."""


@contextmanager
def unseen(title: str) -> Iterator[Progress]:
    yield silent


@functools.cache
def split() -> Split:
    return draw("random", workstation.corner(), 0, 0.2)


@functools.cache
def teacher() -> Checkpoint:
    return train(workstation.corner(), split(), "cnn2d", 5, FitSettings(epochs=3), widths=(32, 32, 32))


@functools.cache
def masks() -> Split:
    """The same parts, as masks: other kinds are drawn again by quantize, from the labels; other labels are taken."""
    return dataclasses.replace(split(), kind="masks", fraction=None, labels_sha256="")


def searched(scene: Scene) -> Compressed:
    """What a search comes to, on a scene that may have other labels on the test pixels."""
    card = dataclasses.replace(teacher().card, split=masks().facts)
    return compress(dataclasses.replace(teacher(), card=card), scene, masks(), Budget(SIZE, drop=100), unseen)


def summary(result: Compressed) -> list[list[Any]]:
    """Path, accuracy and loss of all that was tried: other weights have another loss."""
    return [[list(entry.path), entry.oa, entry.loss] for entry in result.tried]


def searched_by_one() -> Compressed:
    """What a search comes to that knows one way, a student."""
    return compress(teacher(), workstation.corner(), split(), Budget(SIZE, drop=100), unseen)


if __name__ == "__main__":
    for name, value in (QUICK | ONE).items():
        setattr(module, name, value)
    teacher()
    with running(state=Path(sys.argv[1]), say=print):
        Path(sys.argv[2]).write_text(json.dumps(summary(searched_by_one())))
