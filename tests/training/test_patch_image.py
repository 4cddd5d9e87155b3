"""Patches in training, from memory and from files: of one scene, of flights, and of more than fits into memory."""

from __future__ import annotations

import dataclasses
import errno
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch trains, and is not installed")

from hsiedge.errors import OutputError  # noqa: E402
from hsiedge.scenes import preprocess  # noqa: E402
from hsiedge.scenes.cubes import StackedCube  # noqa: E402
from hsiedge.scenes.flights import join_flights  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from hsiedge.scenes.patches import extract  # noqa: E402
from hsiedge.training import patch_image  # noqa: E402
from hsiedge.training.fit import FitSettings  # noqa: E402
from hsiedge.training.patch_image import PatchImage  # noqa: E402
from hsiedge.training.train import train  # noqa: E402
from tests.three_flights import train_sparse_flights, write_flights, write_sparse_flights  # noqa: E402


def _flights(tiny_scene):
    parts = [slice(0, 13), slice(13, 30), slice(30, 40)]
    widths = [30, 22, 26]
    scenes = []
    for number, (rows, width) in enumerate(zip(parts, widths)):
        cube, labels = np.asarray(tiny_scene.cube)[rows, :width], tiny_scene.labelled()[rows, :width]
        scenes.append(dataclasses.replace(tiny_scene, name=f"part{number}", cube=cube, labels=labels))
    return join_flights(scenes)


@pytest.mark.parametrize("patch", [1, 5, 13])
@pytest.mark.parametrize("held", ["memory", "file"])
def test_patches_are_those_of_each_flight_in_memory_and_in_a_file(tiny_scene, monkeypatch, patch, held) -> None:
    if held == "file":
        monkeypatch.setattr(patch_image, "HELD", 0)
        monkeypatch.setattr(patch_image, "_BLOCK", 4 * 42 * 5 * 7)  # seven rows at a time, so that patches lie across
    for scene in (tiny_scene, _flights(tiny_scene)):
        image = PatchImage(scene.cube, patch)
        for some in (np.array([17, 3]), np.flatnonzero(scene.labelled().ravel())):
            expected = extract(scene.cube, some, patch).astype(np.float32)
            assert (image.patches(torch.from_numpy(some)).numpy() == expected).all()
        assert image.to(torch.device("cpu")) is image


def test_a_file_gives_the_weights_that_memory_gives(tiny_scene, monkeypatch) -> None:
    scene = _flights(tiny_scene)
    settings = FitSettings(epochs=3)
    weights = []
    for held in (1 << 30, 0):
        monkeypatch.setattr(patch_image, "HELD", held)
        checkpoint = train(scene, scene.split("random", train=0.2), "cnn2d", 5, settings, widths=(8, 8))
        weights.append(checkpoint.classifier.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_cubes_that_are_read_by_rows_train_the_same(tiny_scene) -> None:
    lazy = dataclasses.replace(tiny_scene, cube=StackedCube([dataclasses.replace(tiny_scene.as_cube(), array=None)]))
    assert lazy.digest == tiny_scene.digest
    settings = FitSettings(epochs=2)
    one, other = (train(scene, scene.split(), "cnn2d", 5, settings, widths=(8, 8)) for scene in (tiny_scene, lazy))
    assert all(torch.equal(value, other.classifier.state_dict()[name]) for name, value in one.classifier.state_dict().items())
    assert one.card.accuracy == other.card.accuracy


def test_a_full_disk_is_one_clear_line(tiny_scene, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(patch_image, "HELD", 0)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match=r"where patches are kept: No space left on device; \$TMPDIR names another place"):
        PatchImage(tiny_scene.cube, 5).patches(torch.tensor([3]))


def test_statistics_of_many_spectra_are_taken_in_pieces(monkeypatch) -> None:
    spectra = np.random.default_rng(0).normal(3000, 500, (500, 21)).astype(np.float32)
    whole = preprocess.fit_affine(spectra), preprocess.band_percentiles(spectra)
    standardized = whole[0](spectra)
    axes = preprocess.principal_axes(standardized, 5, 0.25)
    monkeypatch.setattr(preprocess, "_LARGE", 1000)
    pieces = preprocess.fit_affine(spectra), preprocess.band_percentiles(spectra)
    assert (pieces[0].offset == whole[0].offset).all()
    assert (pieces[0].scale == whole[0].scale).all()
    assert pieces[1] == whole[1]
    np.testing.assert_allclose(preprocess.principal_axes(standardized, 5, 0.25), axes, atol=1e-5)


def test_three_gigabytes_of_flights_train_in_half_of_that(tmp_path) -> None:
    """Flights of sparse files, one of them in other units: under 1.5 GiB at the peak."""
    write_sparse_flights(tmp_path)
    size, oa, peak = train_sparse_flights(tmp_path)
    assert size >= 3e9
    assert peak < 1.5 * (1 << 20), f"{peak >> 10} MiB"
    assert oa > 60


def test_flights_train_to_the_bits_of_the_whole_scene_away_from_the_cuts(indian_pines, tmp_path) -> None:
    flights = open_scene(write_flights(indian_pines, tmp_path))
    drawn = indian_pines.split("random")
    parts = drawn.parts.copy()
    for cut in (48, 96):
        parts[cut - 2 : cut + 2] = 0  # whose patches of 5 lie across
    split = dataclasses.replace(drawn, parts=parts)
    assert dataclasses.replace(flights.split("random"), parts=parts).digest == split.digest
    settings = FitSettings(epochs=1)
    one, other = (train(scene, split, "cnn2d", 5, settings, widths=(8, 8)) for scene in (indian_pines, flights))
    weights, theirs = one.classifier.state_dict(), other.classifier.state_dict()
    assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    assert one.card.accuracy == other.card.accuracy
