"""`random`: a share of each class trains, wherever its pixels lie. It leaks, as most published figures do."""

from __future__ import annotations

import numpy as np

from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.hashing import ranked
from hsiedge.scenes.splits.split import TEST, TRAIN, VALIDATION, Split, check_any, check_fraction, sizes, usable


def random_split(scene: Scene, seed: int, fraction: float) -> Split:
    """Draws `fraction` of each class (at least 3 pixels) to train, half as many (at least 1) to validate, the rest to test.

    Raises:
        OptionError: a fraction outside 0..1.
        SplitError: no class has enough pixels.
    """
    check_fraction(fraction)
    labels = usable(scene)
    parts = np.zeros(labels.size, np.uint8)
    dropped = []
    for label in scene.classes:
        members = np.flatnonzero(labels.ravel() == label)
        train, validate = sizes(len(members), fraction)
        if train + validate >= len(members):
            dropped.append(label)
            continue
        order = ranked(seed, label, members)
        parts[order[:train]] = TRAIN
        parts[order[train : train + validate]] = VALIDATION
        parts[order[train + validate :]] = TEST
    check_any(scene, parts, f"with a training fraction of {fraction:g}")
    return Split("random", parts.reshape(labels.shape), seed, fraction, None, tuple(dropped))
