"""`blocks` is leak-free and whole, whatever the labels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis looks for the counter-examples, and is not installed")
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from hsiedge.errors import SplitError
from hsiedge.scenes import splits
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION


@st.composite
def scenes(draw: DrawFn) -> Scene:
    """Fields of some side, or scattered pixels (side 1), of classes with gaps between their ids; a share is unlabelled."""
    height, width = draw(st.integers(8, 44)), draw(st.integers(8, 44))
    ids = draw(st.lists(st.integers(1, 300), min_size=1, max_size=6, unique=True))
    side, bare, dice = draw(st.integers(1, 12)), draw(st.floats(0, 0.8)), np.random.default_rng(draw(st.integers(0, 2**32)))
    fields = dice.choice(ids, (height // side + 1, width // side + 1))
    labels = np.kron(fields, np.ones((side, side), int))[:height, :width]
    labels[dice.random(labels.shape) < bare] = 0
    if not labels.any():
        labels[0, 0] = ids[0]
    present = sorted(int(label) for label in np.unique(labels) if label)
    return Scene("made", np.zeros((height, width, 1), np.uint8), labels.astype(np.uint16), {i: str(i) for i in present})


def closest(first: np.ndarray, second: np.ndarray) -> int:
    """The least Chebyshev distance between pixels of two sets: each pair is looked at."""
    apart = np.abs(np.argwhere(first)[:, None] - np.argwhere(second)[None])
    return int(apart.max(2).min())


@pytest.mark.slow
@settings(max_examples=40)
@given(scenes(), st.integers(0, 2**63), st.integers(0, 6), st.sampled_from([0.02, 0.1, 0.3]))
def test_blocks_is_leak_free(scene: Scene, seed: int, guard: int, fraction: float) -> None:
    try:
        split = splits.draw("blocks", scene, seed, fraction, guard)
    except SplitError:
        event("no such split")
        return
    event("split")
    labels, parts = scene.labelled(), split.parts
    assert closest(parts == TEST, (parts == TRAIN) | (parts == VALIDATION)) > guard
    assert parts.shape == labels.shape
    assert set(np.unique(parts)) <= {0, TRAIN, VALIDATION, TEST}
    assert (parts[labels == 0] == 0).all()
    assert set(split.dropped) <= set(scene.classes)
    for label in scene.classes:
        counts = np.bincount(parts[labels == label], minlength=4)[1:]
        assert (counts == 0).all() if label in split.dropped else (counts > 0).all()
    assert splits.draw("blocks", scene, seed, fraction, guard).digest == split.digest


@settings(max_examples=60)
@given(scenes(), st.integers(0, 2**63), st.floats(0.01, 0.65))
def test_random_is_whole(scene: Scene, seed: int, fraction: float) -> None:
    try:
        split = splits.draw("random", scene, seed, fraction)
    except SplitError:
        return
    for label in scene.classes:
        counts = np.bincount(split.parts[scene.labelled() == label], minlength=4)
        if label in split.dropped:
            assert (counts[1:] == 0).all()
        else:
            assert counts[0] == 0
            assert (counts[1:] >= (3, 1, 1)).all()
    assert (split.parts[scene.labelled() == 0] == 0).all()
