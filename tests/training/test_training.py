"""Training: repeats to the bit, looks at nothing but training pixels, learns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from hsiedge import nets  # noqa: E402
from hsiedge.errors import OptionError, SceneError, SplitError  # noqa: E402
from hsiedge.scenes.splits import TRAIN, draw  # noqa: E402
from hsiedge.training import conditioning  # noqa: E402
from hsiedge.training.fit import FitSettings, turn  # noqa: E402
from hsiedge.training.patch_image import PatchImage  # noqa: E402
from hsiedge.training.train import train  # noqa: E402
from tests import workstation  # noqa: E402

BRIEF = FitSettings(epochs=2)


def weights(checkpoint: object) -> dict[str, torch.Tensor]:
    return checkpoint.classifier.state_dict()  # type: ignore[attr-defined]


def test_a_run_repeats_to_the_bit() -> None:
    scene = workstation.corner()
    runs = [train(scene, draw("random", scene, 3), "cnn2d", 5, BRIEF, widths=(8, 8)) for _ in range(2)]
    assert all(torch.equal(weights(runs[0])[name], weights(runs[1])[name]) for name in weights(runs[0]))
    assert runs[0].card.accuracy == runs[1].card.accuracy


def test_another_seed_is_another_net() -> None:
    scene = workstation.corner()
    one, two = (train(scene, draw("random", scene, seed), "cnn2d", 5, BRIEF, widths=(8, 8)) for seed in (0, 1))
    assert not torch.equal(weights(one)["net.classifier.weight"], weights(two)["net.classifier.weight"])


def test_only_training_pixels_are_looked_at() -> None:
    """Every other pixel's spectrum and label is replaced: a net of single pixels must come out the same, to the bit."""
    scene = workstation.corner()
    split = dataclasses.replace(draw("random", scene, 0), labels_sha256="")  # the labels' digest would refuse other ones
    other = split.parts != TRAIN
    cube = np.array(scene.cube)
    cube[other] = np.random.default_rng(0).integers(0, 60000, (int(other.sum()), scene.bands))
    labels = scene.labelled().copy()
    labels[other & (labels != 0)] = labels[other & (labels != 0)][::-1]
    scrambled = dataclasses.replace(scene, cube=cube, labels=labels)
    honest, blind = (train(which, split, "cnn1d", 1, BRIEF, widths=(8, 16)) for which in (scene, scrambled))
    assert all(torch.equal(weights(honest)[name], weights(blind)[name]) for name in weights(honest))
    assert honest.card.scene.percentiles == blind.card.scene.percentiles
    assert honest.card.accuracy != blind.card.accuracy  # the scrambling did reach validation


def test_axes_come_from_training_pixels_too() -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    cube = np.array(scene.cube)
    cube[split.parts != TRAIN] = 1
    honest, blind = (
        train(dataclasses.replace(scene, cube=which), split, "cnn2d", 1, BRIEF, widths=(8,)) for which in (scene.cube, cube)
    )
    assert torch.equal(weights(honest)["net.spectral.weight"], weights(blind)["net.spectral.weight"])


def test_it_learns() -> None:
    assert workstation.checkpoint("cnn2d").card.accuracy[0].oa > 65


def test_conditioning_is_undone_exactly() -> None:
    scene = workstation.corner()
    spectra = np.asarray(scene.cube).reshape(-1, scene.bands).astype(np.float32)
    spectra = (spectra - spectra.mean(0)) / spectra.std(0)
    net = nets.build("cnn2d", scene.bands, 5, 3, widths=(8, 8)).eval()
    axes = conditioning.principal(spectra)
    assert conditioning.condition(net, axes)
    assert net.spectral.in_channels == conditioning.COMPONENTS
    patches = torch.from_numpy(spectra[:9].T.reshape(1, scene.bands, 3, 3))
    projected = net(torch.einsum("kb,nbhw->nkhw", axes, patches))
    conditioning.release(net, axes)
    assert net.spectral.in_channels == scene.bands
    torch.testing.assert_close(net(patches), projected, rtol=1e-4, atol=1e-4)


def test_nets_without_a_spectral_layer_are_left_alone() -> None:
    assert not conditioning.condition(nets.build("cnn1d", 50, 3, 1), torch.zeros(4, 50))


def test_what_was_trained_behind_the_axes_is_trained_on_exactly() -> None:
    scene = workstation.corner()
    spectra = np.asarray(scene.cube).reshape(-1, scene.bands).astype(np.float32)
    axes = conditioning.principal((spectra - spectra.mean(0)) / spectra.std(0))
    net = nets.build("cnn2d", scene.bands, 5, 3, widths=(8, 8)).eval()
    conditioning.condition(net, axes)
    conditioning.release(net, axes)
    before = net.spectral.weight.detach().clone()
    with conditioning.conditioned(net, axes):
        assert net.spectral.parametrizations.weight.original.shape == (8, len(axes))
        torch.testing.assert_close(net.spectral.weight, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.spectral.weight, before, rtol=1e-4, atol=1e-5)
    assert isinstance(net.spectral.weight, torch.nn.Parameter)


def test_the_eight_symmetries_differ_and_keep_the_centre() -> None:
    patch = torch.arange(25.0).reshape(1, 1, 5, 5)
    turned = [turn(patch, symmetry) for symmetry in range(8)]
    assert len({tuple(entry.flatten().tolist()) for entry in turned}) == 8
    assert all(float(entry[0, 0, 2, 2]) == 12 for entry in turned)


def test_patches_of_the_image_are_those_of_the_scene() -> None:
    from hsiedge.scenes.patches import extract

    scene = workstation.corner()
    pixels = np.array([0, 47, 48 * 20 + 13, 48 * 48 - 1])
    image = PatchImage(np.asarray(scene.cube).astype(np.float32), 7)
    ours = image.patches(torch.from_numpy(pixels)).numpy()
    np.testing.assert_array_equal(ours, extract(scene.cube, pixels, 7).astype(np.float32))


def test_classes_left_out_of_the_split_are_no_outputs() -> None:
    scene = workstation.scene()
    split = draw("blocks", scene, 0)
    checkpoint = train(scene, split, "cnn1d", 1, FitSettings(epochs=1), widths=(4, 8))
    assert [entry.id for entry in checkpoint.card.classes] == [label for label in scene.classes if label not in split.dropped]
    assert checkpoint.card.split == split.facts


def test_errors() -> None:
    scene = workstation.corner()
    split = draw("random", scene, 0)
    with pytest.raises(OptionError):
        train(scene, split, settings=FitSettings(epochs=0))
    with pytest.raises(SceneError, match="wider"):
        train(scene, split, patch=49)
    with pytest.raises(SceneError, match="odd"):
        train(scene, split, patch=4)
    whole = workstation.scene()
    with pytest.raises(SplitError, match="draw the split on the scene that it is used with"):
        train(whole, split)
    with pytest.raises(SplitError, match="use patch=13 or less"):
        train(whole, draw("blocks", whole, 0), patch=15)
