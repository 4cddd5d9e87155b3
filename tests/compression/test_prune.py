"""Pruning, on small nets trained on real pixels."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("torch", reason="pruning needs torch")

import torch

from hsiedge.compression import channels, prune
from hsiedge.compression.prune import count_zeros, prune_magnitude, prune_structured
from hsiedge.errors import CheckError, ModelError, OptionError
from hsiedge.scenes.patches import extract
from hsiedge.scenes.splits import draw
from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint
from hsiedge.training.classifier import predict_logits
from hsiedge.training.conditioning import conditioned
from hsiedge.training.finetune import training_set_for
from hsiedge.training.fit import FitSettings
from tests import workstation

BRIEF = FitSettings(epochs=1, rate=1e-3)


@pytest.mark.parametrize("net", ["cnn1d", "cnn2d", "cnn3d", "hybridsn"])
def test_half_the_channels_go_and_the_checkpoint_reopens(net, tmp_path) -> None:
    scene, whole = workstation.scene(), workstation.checkpoint(net)
    small = prune_structured(whole, scene, workstation.split(), 0.5, settings=BRIEF, parent="f00")
    before, after = whole.classifier.net.widths, small.classifier.net.widths
    assert [now <= had // 2 + 1 for now, had in zip(after, before)] == [True] * len(before)
    assert small.card.net.parameters < 0.6 * whole.card.net.parameters
    limit = 0.8 if net == "hybridsn" else 0.6  # its 1x1 convolution, whose channels are the depth of what follows, stays whole
    assert small.card.net.macs_per_pixel < limit * whole.card.net.macs_per_pixel
    step = small.card.lineage[-1]
    assert (step.step, step.parent, step.options["removed"]) == ("prune", "f00", sum(before) - sum(after))
    save_checkpoint(tmp_path / "small.safetensors", small)
    again = load_checkpoint(tmp_path / "small.safetensors")
    patches = extract(scene.cube, np.array([1000, 2000, 3000]), whole.card.patch)
    torch.testing.assert_close(predict_logits(again.classifier, patches), predict_logits(small.classifier, patches))


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor", "batchnorm"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_criteria_choose_channels(criterion, scope) -> None:
    checkpoint = workstation.checkpoint("cnn2d")
    dataset = training_set_for(checkpoint, workstation.scene(), workstation.split())
    patches = dataset.image(checkpoint.card.patch).patches(torch.from_numpy(dataset.pixels[:200]))
    targets = torch.from_numpy(dataset.targets[:200])
    cut = channels.cut(checkpoint.classifier.net, patches, targets, 0.5, criterion, scope)
    assert (cut.before, cut.after, cut.asked) == (72, 36, 36)
    assert scope == "global" or set(cut.net.widths) == {12}


def test_each_layer_keeps_a_channel() -> None:
    net = workstation.checkpoint("cnn2d").classifier.net
    patches = torch.randn(8, 200, 7, 7, generator=torch.Generator().manual_seed(0))
    cut = channels.cut(net, patches, torch.zeros(8, dtype=torch.int64), 0.99, "l2", "layer")
    assert cut.net.widths == (1, 1, 1)
    assert (cut.before - cut.after, cut.asked) == (69, 72)


def test_a_ratio_that_takes_nothing() -> None:
    with pytest.raises(OptionError, match="takes no channel"):
        prune_structured(workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), 0.01)


def test_l1_takes_the_channels_with_the_smallest_weights() -> None:
    checkpoint = workstation.checkpoint("cnn2d")
    net = copy.deepcopy(checkpoint.classifier.net)
    with torch.no_grad():  # of the last feature map, the even channels are made to matter
        net.spatial[-1].weight[::2] *= 100
        net.classifier.weight[:, ::2] *= 100
        net.spatial_norm[-1].weight[::2] *= 100
    patches = torch.randn(8, 200, 7, 7, generator=torch.Generator().manual_seed(0))
    cut = channels.cut(net, patches, torch.zeros(8, dtype=torch.int64), 0.5, "l1", "layer")
    torch.testing.assert_close(cut.net.classifier.weight, net.classifier.weight[:, ::2])


def test_a_cut_that_changes_the_function_is_refused(monkeypatch) -> None:
    checkpoint = workstation.checkpoint("cnn2d")
    monkeypatch.setattr(channels, "_set_to_zero", lambda layer, places: None)  # the twin keeps what was cut
    patches = torch.randn(8, 200, 7, 7, generator=torch.Generator().manual_seed(0))
    with pytest.raises(CheckError, match="not the net with those channels set to 0"):
        channels.cut(checkpoint.classifier.net, patches, torch.zeros(8, dtype=torch.int64), 0.5, "l1", "layer")


@pytest.mark.parametrize("net", ["cnn1d", "cnn3d", "hybridsn"])
def test_batchnorm_where_there_is_none(net) -> None:
    with pytest.raises(OptionError, match="no BatchNorm"):
        prune_structured(workstation.checkpoint(net), workstation.scene(), workstation.split(), 0.5, "batchnorm")


@pytest.mark.parametrize(("net", "scope"), [("cnn2d", "global"), ("cnn3d", "layer")])
def test_single_weights_stay_zero_through_fine_tuning(net, scope) -> None:
    whole = workstation.checkpoint(net)
    pruned = prune_magnitude(whole, workstation.scene(), workstation.split(), 0.8, scope, BRIEF)
    zeros, total = count_zeros(pruned.classifier.net)
    assert abs(zeros - 0.8 * total) <= 8
    assert pruned.card.lineage[-1].options["zeros"] == zeros
    assert pruned.card.net.parameters == whole.card.net.parameters
    assert isinstance(pruned.classifier.net.classifier.weight, torch.nn.Parameter)  # no mask is left behind
    moved = pruned.classifier.net.classifier.weight.detach() - whole.classifier.net.classifier.weight.detach()
    assert (moved[pruned.classifier.net.classifier.weight != 0] != 0).any()
    if scope == "layer":
        layers = [layer.weight for layer in pruned.classifier.net.layers]
        assert all(abs(float((weight == 0).float().mean()) - 0.8) < 0.05 for weight in layers)


def test_pruning_repeats() -> None:
    arguments = (workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), 0.5)
    first, second = (prune_magnitude(*arguments, settings=BRIEF).classifier.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, float("nan")])
def test_ratios_that_are_none(ratio) -> None:
    for step in (prune_magnitude, prune_structured):
        with pytest.raises(OptionError, match="between 0 and 1"):
            step(workstation.checkpoint("cnn2d"), workstation.scene(), workstation.split(), ratio)


def test_rounds_end_where_one_cut_does_and_soft_labels_change_what_is_learned(monkeypatch) -> None:
    fitted = []
    whole, own = workstation.checkpoint("cnn2d"), (workstation.scene(), workstation.split(), 0.5)
    finetune = prune.finetune
    monkeypatch.setattr(
        prune, "finetune", lambda net, *words, **more: fitted.append(net.widths) or finetune(net, *words, **more)
    )
    settings = FitSettings(epochs=3, rate=1e-3)
    once, rounds, soft = (
        prune_structured(whole, *own, settings=settings, **options) for options in ({}, {"rounds": 3}, {"soft_labels": True})
    )
    assert once.classifier.net.widths == rounds.classifier.net.widths == soft.classifier.net.widths
    assert fitted[0] == fitted[3] == fitted[4] == prune.widths_after(whole.classifier.net.widths, 0.5)
    assert sum(whole.classifier.net.widths) > sum(fitted[1]) > sum(fitted[2]) > sum(fitted[3])
    weights = [net.classifier.net.classifier.weight for net in (once, rounds, soft)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    options = [net.card.lineage[-1].options for net in (once, rounds, soft)]
    assert [(entry.get("rounds"), entry.get("soft_labels")) for entry in options] == [(None, None), (3, None), (None, True)]
    assert {(entry["asked"], entry["removed"], entry["epochs"]) for entry in options} == {(36, 36, 3)}
    assert prune._shares(60, 7) == [9, 8, 9, 8, 9, 8, 9]
    for count in (0, 4):
        with pytest.raises(OptionError, match="rounds"):
            prune_structured(whole, *own, settings=settings, rounds=count)


def test_another_split_is_refused() -> None:
    other = draw("random", workstation.scene(), 1)
    with pytest.raises(ModelError, match="not the split"):
        prune_magnitude(workstation.checkpoint("cnn2d"), workstation.scene(), other, 0.5, settings=BRIEF)


def test_what_was_pruned_is_not_undone_by_training_on() -> None:
    """Weights on bands with zeros among them are no longer a projection on principal axes, and must not be made one again."""
    arguments = (workstation.scene(), workstation.split())
    pruned = prune_magnitude(workstation.checkpoint("cnn2d"), *arguments, 0.9, settings=BRIEF)
    before = pruned.classifier.net.spectral.weight.detach()
    dataset = training_set_for(pruned, *arguments)
    net = copy.deepcopy(pruned.classifier.net)
    with conditioned(net, dataset.axes):
        assert torch.equal(net.spectral.weight, before)
    again = prune_magnitude(pruned, *arguments, 0.95, settings=BRIEF)
    assert count_zeros(again.classifier.net)[0] > count_zeros(pruned.classifier.net)[0]
    assert ((again.classifier.net.spectral.weight == 0) | (before != 0)).float().mean() > 0.99


def test_a_fresh_net_is_trained_on_behind_the_axes() -> None:
    checkpoint = workstation.checkpoint("cnn2d")
    dataset = training_set_for(checkpoint, workstation.scene(), workstation.split())
    net = copy.deepcopy(checkpoint.classifier.net)
    with conditioned(net, dataset.axes):
        assert net.spectral.parametrizations.weight.original.shape == (24, len(dataset.axes))
