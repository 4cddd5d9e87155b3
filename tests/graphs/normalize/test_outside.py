"""Preprocessing in front of a graph: standardized bands, and principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are made of onnx")

from hsiedge.errors import OptionError  # noqa: E402
from hsiedge.graphs.export.attach_card import attach_card  # noqa: E402
from hsiedge.graphs.normalize.outside import Outside  # noqa: E402
from hsiedge.runtimes import load  # noqa: E402
from hsiedge.scenes.open import open_scene  # noqa: E402
from tests.graphs.normalize.test_normalize import graph, node, weight  # noqa: E402

SPECTRA = np.random.default_rng(4).normal(size=(200, 5)) @ np.random.default_rng(5).normal(size=(5, 5)) * 30 + 500


def test_components_are_those_of_the_covariance() -> None:
    outside = Outside.fitted(SPECTRA, standardize=True, pca=3, pixels="pixels")
    scores = outside(SPECTRA[:, :, None, None])[:, :, 0, 0]
    values, vectors = np.linalg.eigh(np.corrcoef(SPECTRA.T))
    np.testing.assert_allclose(scores.var(0), values[::-1][:3], rtol=1e-4)
    assert outside.components is not None
    np.testing.assert_allclose(np.abs(outside.components @ vectors[:, ::-1][:, :3]), np.eye(3), atol=1e-6)
    assert all(row[np.abs(row).argmax()] > 0 for row in outside.components)
    assert outside.text == "each band standardized, then 3 principal components, fitted on 200 pixels"


def test_a_band_that_does_not_vary_is_left() -> None:
    flat = np.full((9, 2), 7.0)
    assert (Outside.fitted(flat, standardize=True, pca=None, pixels="pixels")(flat[:, :, None, None]) == 0).all()


@pytest.mark.parametrize("pca", [0, 6])
def test_components_that_are_not_there(pca: int) -> None:
    with pytest.raises(OptionError, match=f"pca={pca}: from 1 to 5 components"):
        Outside.fitted(SPECTRA, standardize=False, pca=pca, pixels="pixels")


@pytest.mark.parametrize(("standardize", "pca"), [(True, None), (False, 3), (True, 3)])
def test_a_net_whose_authors_preprocess_outside(standardize: bool, pca: int | None, tmp_path: Path) -> None:
    counts = np.random.default_rng(6).integers(0, 4000, (12, 11, 5)).astype(np.uint16)
    labels = np.arange(132).reshape(12, 11).astype(np.uint8) % 3
    for name, array in (("cube", counts), ("labels", labels)):
        np.save(tmp_path / f"{name}.npy", array)
    scene = open_scene(tmp_path / "cube.npy", labels=tmp_path / "labels.npy")
    bands = pca or 5
    onnx.save(
        graph([node("Conv", "x k", "c"), node("Flatten", "c", "y")], {"k": weight(2, bands, 3, 3)},
              inputs={"x": ("N", bands, 3, 3)}, outputs={"y": ("N", 2)}),
        tmp_path / "net.onnx",
    )  # fmt: skip
    card = attach_card(tmp_path / "net.onnx", scene, 3, None, tmp_path / "m.onnx", standardize=standardize, pca=pca)
    assert "fitted on 88 labelled pixels of" in card.preprocess
    spectra = counts[labels > 0].astype(float)
    moved = (counts - spectra.mean(0)) / (spectra.std(0) if standardize else 1.0)
    if pca is not None:
        values = (spectra - spectra.mean(0)) / (spectra.std(0) if standardize else 1.0)
        vectors = np.linalg.eigh(np.cov(values.T))[1][:, ::-1][:, :pca]
        moved = moved @ (vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(pca)]))
    patch = moved[3:6, 4:7].transpose(2, 0, 1)
    expected = np.tensordot(weight(2, bands, 3, 3), patch, 3)
    ours = load(tmp_path / "m.onnx").logits_at(scene, np.array([4 * 11 + 5]))
    np.testing.assert_allclose(ours[0], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    with pytest.raises(OptionError, match="keep_graph"):
        attach_card(tmp_path / "net.onnx", scene, 3, None, tmp_path / "n.onnx", keep_graph=True, standardize=True)
