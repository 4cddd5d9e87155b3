"""Distillation, on small nets and real pixels."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

pytest.importorskip("torch", reason="distilling needs torch")

import torch

from hsiedge.compression import distill as module
from hsiedge.compression.distill import distill, free_pixels
from hsiedge.errors import ModelError, OptionError
from hsiedge.scenes.splits import TEST, Split, dilate, draw
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import predict_logits
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train
from tests import workstation

BRIEF = FitSettings(epochs=1)
SMALL = {"widths": (8, 12, 12)}


@functools.cache
def alone() -> Checkpoint:
    """The student, taught by nobody."""
    return train(workstation.scene(), workstation.split(), "dscnn", 7, BRIEF, **SMALL)


@pytest.mark.parametrize("method", ["logits", "features", "attention"])
def test_each_method_makes_another_student(method) -> None:
    teacher = workstation.checkpoint("cnn2d")
    distilled = distill(
        teacher, workstation.scene(), workstation.split(), "dscnn", method, settings=BRIEF, parent="f00", **SMALL
    )
    assert distilled.card.patch == teacher.card.patch
    assert [step.step for step in distilled.card.lineage] == ["train", "distill"]
    assert distilled.card.lineage[-1].parent == "f00"
    assert distilled.card.split == teacher.card.split
    assert not any(
        torch.equal(a, b) for a, b in zip(distilled.classifier.net.parameters(), alone().classifier.net.parameters())
    )
    assert set(distilled.classifier.state_dict()) == set(alone().classifier.state_dict())  # nothing of the method stays behind


def test_the_whole_weight_on_logits_makes_the_student_answer_as_the_teacher_does() -> None:
    teacher = workstation.checkpoint("cnn2d")
    scene, split = workstation.scene(), workstation.split()
    settings = FitSettings(epochs=6)
    close = distill(teacher, scene, split, "cnn2d", temperature=2.0, weight=1.0, settings=settings, widths=(24, 24, 24))
    apart = train(scene, split, "cnn2d", 7, FitSettings(epochs=6, smoothing=0.4), widths=(24, 24, 24))
    pixels = split.pixels(1)[::4]
    patches = module.training_set_for(teacher, scene, split).image(7).patches(torch.from_numpy(pixels))
    with torch.no_grad():
        wanted = teacher.classifier.net(patches).softmax(1)
        distances = [float((wanted - entry.classifier.net.eval()(patches).softmax(1)).abs().mean()) for entry in (close, apart)]
    assert distances[0] < 0.7 * distances[1]


def test_teacher_and_student_of_other_kinds_and_patches() -> None:
    teacher = workstation.checkpoint("hybridsn")
    distilled = distill(
        teacher, workstation.scene(), workstation.split(), "cnn3d", "features", patch=5, settings=BRIEF, widths=(2, 4)
    )
    assert (distilled.card.patch, distilled.card.net.name) == (5, "cnn3d")


def test_a_net_that_sees_one_pixel_has_no_attention() -> None:
    teacher = workstation.checkpoint("cnn2d")
    with pytest.raises(OptionError, match="one pixel"):
        distill(teacher, workstation.scene(), workstation.split(), "cnn1d", "attention", patch=1, settings=BRIEF)


@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_unlabelled_pixels_are_no_labelled_ones(kind) -> None:
    scene = workstation.scene()
    split = draw(kind, scene, 0)
    free = free_pixels(scene, split, 7)
    assert len(free) > 1000
    assert (scene.labels.ravel()[free] == 0).all()
    if split.guard is not None:
        assert not dilate(split.parts == TEST, split.guard).ravel()[free].any()


def test_the_card_says_transductive_and_the_labels_of_test_pixels_are_not_looked_at() -> None:
    """Other labels on test pixels, the same pixels: not a bit of the student changes."""
    scene, teacher = workstation.scene(), workstation.checkpoint("cnn2d")
    split = dataclasses.replace(workstation.split(), labels_sha256="")  # the labels' digest would refuse other ones
    spoiled = scene.labels.copy()
    spoiled.ravel()[split.pixels(TEST)] = np.roll(spoiled.ravel()[split.pixels(TEST)], 1000)
    other = dataclasses.replace(scene, labels=spoiled)
    distilled = [distill(teacher, where, split, "dscnn", unlabelled=True, settings=BRIEF, **SMALL) for where in (scene, other)]
    first, second = (entry.classifier.state_dict() for entry in distilled)
    assert all(torch.equal(first[name], second[name]) for name in first)
    card = distilled[0].card
    assert card.lineage[-1].options["transductive"] is True
    assert card.lineage[-1].options["unlabelled"] == len(free_pixels(scene, split, 7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dreams"}, "no method"),
        ({"weight": 0.0}, "weight 0"),
        ({"weight": 1.5}, "weight 1.5"),
        ({"temperature": 0.0}, "temperature 0"),
        ({"method": "features", "unlabelled": True}, "only be learned from the teacher's logits"),
    ],
)
def test_options_that_make_no_sense(changes, message) -> None:
    with pytest.raises(OptionError, match=message):
        distill(workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), "dscnn", **changes)


def test_teacher_and_student_share_one_split() -> None:
    with pytest.raises(ModelError, match="not the split"):
        distill(workstation.checkpoint("cnn2d"), workstation.scene(), draw("random", workstation.scene(), 3), "dscnn")


def test_a_scene_without_unlabelled_pixels() -> None:
    scene = workstation.corner()
    full = dataclasses.replace(scene, labels=np.maximum(scene.labels, 1))
    split = Split("random", np.full(full.shape, TEST, np.uint8))
    with pytest.raises(OptionError, match="no unlabelled pixels"):
        free_pixels(full, split, 3)


def test_logits_are_what_the_classifier_gives() -> None:
    """The teacher is asked about the pixels that the student is taught on, turned as they are."""
    teacher, scene, split = workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split()
    guide = module._Guide(teacher, scene, split)
    pixels = split.pixels(1)[:5]
    from hsiedge.scenes.patches import extract

    ours = guide.logits(torch.from_numpy(pixels), 0)
    theirs = predict_logits(teacher.classifier, extract(scene.cube, pixels, teacher.card.patch))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
