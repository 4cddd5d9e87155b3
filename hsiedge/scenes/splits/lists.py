"""`lists`: the scene's own lists, of a mosaic whose whole tiles train, validate or test."""

from __future__ import annotations

import numpy as np

from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.blocks import classes_in_all_parts
from hsiedge.scenes.splits.split import Split, usable


def lists_split(scene: Scene, seed: int = 0) -> Split:
    """The scene's own lists: whole tiles train, validate or test. The seed is that of training; it decides no pixel.

    Neighbouring tiles touch, so patches of test pixels may reach into training tiles (`leaked`).

    Raises:
        OptionError: a scene without lists.
        SplitError: fewer than two classes are in all three parts.
    """
    if scene.parts is None:
        raise OptionError(f"{scene.name} has no lists of its own", use={"split": "random"})
    labels = usable(scene)
    parts = np.where(labels != 0, scene.parts, 0).astype(np.uint8)
    kept = classes_in_all_parts(labels, scene, parts)
    dropped = tuple(label for label in scene.classes if label not in kept)
    parts[np.isin(labels, dropped)] = 0
    if len(kept) < 2:
        raise SplitError(f"{scene.name}: its lists keep fewer than two classes in all three parts")
    return Split("lists", parts, seed, None, None, dropped)
