"""Refits: validation pixels choose the epochs, then train too; figures and choices stay those of the weights from before."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import Card

torch = pytest.importorskip("torch", reason="training needs torch")
rich = pytest.importorskip("rich.console", reason="a Card is shown by rich")

from hsiedge.cli import choose  # noqa: E402
from hsiedge.compression.budget import Budget, compress  # noqa: E402
from hsiedge.compression.distill import distill  # noqa: E402
from hsiedge.compression.prune import prune_structured  # noqa: E402
from hsiedge.compression.qat import qat  # noqa: E402
from hsiedge.errors import OptionError  # noqa: E402
from hsiedge.graphs.export.checkpoint import export  # noqa: E402
from hsiedge.graphs.quantization.quantize import quantize  # noqa: E402
from hsiedge.graphs.refit import graph_before, place_before  # noqa: E402
from hsiedge.progress import Progress, silent  # noqa: E402
from hsiedge.report.terminal.model import card_table  # noqa: E402
from hsiedge.runtimes import require_card  # noqa: E402
from hsiedge.scenes.splits import TRAIN, VALIDATION, draw, masks_split  # noqa: E402
from hsiedge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint  # noqa: E402
from hsiedge.training.dataset import prepare  # noqa: E402
from hsiedge.training.finetune import training_set_for  # noqa: E402
from hsiedge.training.fit import FitSettings  # noqa: E402
from hsiedge.training.train import train  # noqa: E402
from tests import workstation  # noqa: E402


def unseen(title: str) -> AbstractContextManager[Progress]:
    """Shows nothing of a stage."""
    return nullcontext(silent)


SHAPE = {"widths": (8, 8, 8)}
FEW = FitSettings(epochs=4)


@pytest.fixture(scope="module")
def refitted() -> Checkpoint:
    return train(workstation.corner(), draw("random", workstation.corner(), 0), "cnn2d", 5, FEW, refit=True, **SHAPE)


def test_both_weights_and_what_the_card_says(refitted: Checkpoint) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    plain = train(scene, split, "cnn2d", 5, FEW, **SHAPE)
    assert not plain.card.refitted
    assert plain.before is None
    card, both = refitted.card, split.facts.train + split.facts.validation
    assert card.refitted
    assert [step.step for step in card.lineage] == ["train", "refit"]
    assert card.lineage[1].options["pixels"] == both
    assert 2 <= card.lineage[1].options["epochs"] <= 4
    assert [(entry.part, entry.weights) for entry in card.accuracy] == [("validation", "before the refit")]
    assert refitted.before is not None
    differ = [
        not torch.equal(ours, theirs)
        for ours, theirs in zip(refitted.classifier.state_dict().values(), refitted.before.state_dict().values())
    ]
    assert any(differ)
    if card.lineage[1].options["epochs"] == 4:  # nothing but the choice of epochs sets it apart from a net without a refit
        assert torch.equal(refitted.before.net.classifier.weight, plain.classifier.net.classifier.weight)


def shown_card(card: Card, path: Path) -> str:
    """The table of a Card as text."""
    console = rich.Console(width=200)
    with console.capture() as printed:
        console.print(card_table(card, path))
    return printed.get()


def test_show_calls_no_pixel_that_trained_a_validation_pixel(refitted: Checkpoint) -> None:
    facts = draw("random", workstation.corner(), 0).facts
    both = facts.train + facts.validation
    text = shown_card(refitted.card, Path(__file__))
    trained = f"{both} train ({facts.validation} of them validated before the refit), {facts.test} test"
    assert trained in text
    assert f"on {facts.validation} validation pixels, seed 0, weights before the refit" in text
    before = shown_card(refitted.views()[0].card, Path(__file__))
    assert f"{facts.train} train, {facts.validation} validate, {facts.test} test" in before


def test_the_weights_from_before_saw_no_validation_pixel(refitted: Checkpoint) -> None:
    """With other labels on validation pixels, they stay what they are, if the same epochs are chosen; the others do not."""
    scene = workstation.corner()
    split = draw("random", scene, 0)
    labels = scene.labelled().copy()
    trains = split.parts == TRAIN
    classes = [label for label in scene.classes if label not in split.dropped]
    rolled = dict(zip(classes, classes[1:] + classes[:1]))
    moved = split.parts == VALIDATION
    labels[moved] = [rolled[int(label)] for label in labels[moved]]
    changed = dataclasses.replace(split, labels=labels)
    assert (changed.labels_on(scene)[trains] == scene.labelled()[trains]).all()
    other = train(scene, changed, "cnn2d", 5, FEW, refit=True, **SHAPE)
    if other.card.lineage[1].options["epochs"] == refitted.card.lineage[1].options["epochs"]:
        assert other.before is not None
        assert refitted.before is not None
        assert torch.equal(other.before.net.spectral.weight, refitted.before.net.spectral.weight)
    assert not torch.equal(other.classifier.net.spectral.weight, refitted.classifier.net.spectral.weight)


def test_training_set_of_a_refit_has_both_parts(refitted: Checkpoint) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    assert sorted(prepare(scene, split, 5, refit=True).pixels) == sorted([*split.pixels(TRAIN), *split.pixels(VALIDATION)])
    before, after = refitted.views()
    assert len(training_set_for(before, scene, split).pixels) == split.facts.train
    assert len(training_set_for(after, scene, split).pixels) == split.facts.train + split.facts.validation


def test_a_file_keeps_both(refitted: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "refitted.safetensors"
    save_checkpoint(path, refitted)
    loaded = load_checkpoint(path)
    assert loaded.before is not None
    assert refitted.before is not None
    for ours, theirs in ((loaded.classifier, refitted.classifier), (loaded.before, refitted.before)):
        assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
    with pytest.raises(ValueError, match="a Card that tells of none"):
        dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, lineage=loaded.card.lineage[:1]))


def test_published_splits_refit_unless_told_not_to() -> None:
    from hsiedge.card import PublishedFacts

    scene = workstation.corner()
    odd = (np.arange(scene.labelled().size) % 2).reshape(scene.shape)
    drawn = masks_split(scene, (scene.labelled() != 0) * odd, (scene.labelled() != 0) * (1 - odd))
    published = dataclasses.replace(drawn, published=PublishedFacts({}, []))
    few = FitSettings(epochs=1)
    assert train(scene, published, "cnn1d", 1, few, widths=(4, 8)).card.refitted
    assert not train(scene, published, "cnn1d", 1, few, refit=False, widths=(4, 8)).card.refitted
    assert not train(scene, drawn, "cnn1d", 1, few, widths=(4, 8)).card.refitted


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_pruning_cuts_both(refitted: Checkpoint, scope: str, tmp_path: Path) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    pruned = prune_structured(refitted, scene, split, 0.5, scope=scope, settings=FitSettings(epochs=1))
    alone = prune_structured(refitted.views()[0], scene, split, 0.5, scope=scope, settings=FitSettings(epochs=1))
    assert pruned.before is not None
    assert torch.equal(pruned.before.net.classifier.weight, alone.classifier.net.classifier.weight)
    assert [(entry.weights, entry.oa) for entry in pruned.card.accuracy] == [("before the refit", alone.card.accuracy[0].oa)]
    path = tmp_path / "pruned.safetensors"
    save_checkpoint(path, pruned)
    assert load_checkpoint(path).before.net.widths == pruned.before.net.widths  # type: ignore[union-attr]
    again = prune_structured(load_checkpoint(path), scene, split, 0.5, scope=scope, settings=FitSettings(epochs=1))
    assert again.before is not None


def test_a_student_learns_twice(refitted: Checkpoint) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    student = distill(refitted, scene, split, "cnn2d", settings=FitSettings(epochs=1), widths=(4, 4))
    assert student.before is not None
    assert [step.step for step in student.card.lineage] == ["train", "refit", "distill"]
    assert student.card.accuracy[0].weights == "before the refit"


def test_quantize_chooses_layers_with_the_weights_from_before(refitted: Checkpoint, tmp_path: Path) -> None:
    scene = workstation.corner()
    path = tmp_path / "refitted.onnx"
    export(refitted, scene, path, "ab" * 32)
    beside = place_before(path)
    assert not require_card(beside).refitted
    assert graph_before(path, require_card(path)) == beside
    assert require_card(beside).created > require_card(path).created
    assert choose.newest(".onnx", choose.is_float, tmp_path) == path  # commands take the refitted one unasked
    card = quantize(path, scene, tmp_path / "int8.onnx", max_drop=100)
    alone = quantize(beside, scene, tmp_path / "alone.onnx", max_drop=100)
    ours, theirs = card.quantization, alone.quantization
    assert ours is not None
    assert theirs is not None
    assert (ours.oa_float, ours.oa_int8, ours.float_layers) == (theirs.oa_float, theirs.oa_int8, theirs.float_layers)
    assert ours.pixels == theirs.pixels == draw("random", scene, 0).facts.validation
    assert ours.calibration["judged"] == "weights before the refit"
    assert "of labels as in float, OA" in shown_card(card, path)
    assert shown_card(card, path).count("(weights before the refit)") == 1
    beside.unlink()
    bare = quantize(path, scene, tmp_path / "bare.onnx", max_drop=100).quantization
    assert bare is not None
    assert (bare.oa_float, bare.oa_int8) == (None, None)
    export(refitted, scene, path, "cd" * 32)
    export(refitted, scene, tmp_path / "other.onnx", "ef" * 32)
    place_before(tmp_path / "other.onnx").replace(beside)
    assert graph_before(path, require_card(path)) is None  # of another checkpoint


def test_devices() -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    with pytest.raises(OptionError, match="device=gpu: choose cpu, cuda or auto"):
        train(scene, split, "cnn1d", 1, FEW, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="PyTorch sees no GPU here; use device=cpu"):
            train(scene, split, "cnn1d", 1, FEW, device="cuda")
        auto, plain = (
            train(scene, split, "cnn1d", 1, FitSettings(epochs=1), device=name, widths=(4, 8)) for name in ("auto", "cpu")
        )
        assert torch.equal(auto.classifier.net.classifier.weight, plain.classifier.net.classifier.weight)


def test_quantization_aware_training_is_judged_with_the_weights_from_before(refitted: Checkpoint) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    both = qat(refitted, scene, split, settings=FitSettings(epochs=1, rate=1e-4))
    alone = qat(refitted.views()[0], scene, split, settings=FitSettings(epochs=1, rate=1e-4))
    assert (both.judged, both.control_judged) == (alone.judged, alone.control_judged)
    assert both.before is not None
    assert both.model != both.before
    assert both.checkpoint.before is not None
    assert both.card.quantization is not None
    assert both.card.quantization.oa_int8 == alone.judged.oa
    assert both.card.quantization.pixels == both.judged.pixels == split.facts.validation
    assert both.card.quantization.calibration["judged"] == "weights before the refit"


def test_compress_judges_the_weights_from_before(refitted: Checkpoint) -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    result = compress(refitted, scene, split, Budget(1 << 20, 100.0), unseen)
    assert result.teacher == refitted.card.accuracy[0].oa
    assert result.best is not None
    alone = compress(refitted.views()[0], scene, split, Budget(1 << 20, 100.0), unseen)
    assert alone.best is not None
    assert (result.best.oa, result.best.loss) == (alone.best.oa, alone.best.loss)
    assert result.best.model != alone.best.model
    assert result.best.card.refitted
