from __future__ import annotations

import numpy as np
import pytest

from hsiedge.scenes.preprocess import band_percentiles, fit_affine, principal_axes

SPECTRA = (np.random.default_rng(0).normal(size=(500, 6)) @ np.random.default_rng(1).normal(size=(6, 8)) * 300 + 4000).astype(
    np.uint16
)


def test_affine_standardizes_each_band() -> None:
    result = fit_affine(SPECTRA)(SPECTRA)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(result.std(0), 1, atol=0.01)


def test_affine_is_short_in_text() -> None:
    whole, fine = fit_affine(SPECTRA), fit_affine(SPECTRA.astype(np.float32) / 10000)
    assert (whole.offset == np.rint(whole.offset)).all()
    for values, digits in ((whole.scale, 3), (fine.offset, 3), (fine.scale, 3)):
        assert max(len(str(value).strip("0.").replace(".", "")) for value in values) <= digits, values
    for affine, spectra in ((whole, SPECTRA), (fine, SPECTRA.astype(np.float32) / 10000)):
        np.testing.assert_allclose(affine(spectra).mean(0), 0, atol=0.05)
        np.testing.assert_allclose(affine(spectra).std(0), 1, atol=0.01)


def test_counts_that_are_stored_as_floats_are_counts() -> None:
    np.testing.assert_array_equal(fit_affine(SPECTRA.astype(np.float32)).offset, fit_affine(SPECTRA).offset)
    assert band_percentiles(SPECTRA.astype(np.float32)) == band_percentiles(SPECTRA)


@pytest.mark.parametrize("constant", [0, 7, 65535])
def test_affine_of_a_constant_band_is_zero(constant: int) -> None:
    spectra = SPECTRA.copy()
    spectra[:, 3] = constant
    affine = fit_affine(spectra)
    assert affine.scale[3] == 0
    assert (affine(spectra)[:, 3] == 0).all()
    assert (affine(spectra + np.uint16(1))[:, 3] == 0).all()
    assert np.isfinite(affine(spectra)).all()


def test_affine_of_a_constant_float_band_does_not_blow_up_its_rounding() -> None:
    spectra = np.full((1000, 2), 0.1)
    assert spectra[:, 0].std() > 0  # though all are the same
    spectra[:, 1] = np.linspace(0, 1e-3, 1000)
    affine = fit_affine(spectra)
    assert affine.scale[0] == 0
    assert affine(spectra)[:, 1].std() == pytest.approx(1, abs=1e-3)


def test_affine_takes_patches_with_bands_last() -> None:
    affine = fit_affine(SPECTRA)
    np.testing.assert_array_equal(affine(SPECTRA.reshape(5, 100, 8)), affine(SPECTRA).reshape(5, 100, 8))


def test_percentiles() -> None:
    result = band_percentiles(SPECTRA)
    assert list(result) == ["1", "50", "99"]
    for name, values in result.items():
        expected = [np.sort(SPECTRA[:, band].astype(float)) for band in range(8)]
        place = float(name) / 100 * 499
        low = int(place)
        np.testing.assert_allclose(values, [round(s[low] + (s[min(low + 1, 499)] - s[low]) * (place - low)) for s in expected])


class TestPrincipalAxes:
    standardized = fit_affine(SPECTRA)(SPECTRA)

    def test_rotation(self) -> None:
        axes = principal_axes(self.standardized, 4, 0)
        assert axes.shape == (4, 8)
        np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-5)
        scores = self.standardized @ axes.T
        covariance = scores.T @ scores / len(scores)
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)
        assert (np.diff(np.diag(covariance)) < 0).all()

    def test_whitening(self) -> None:
        scores = self.standardized @ principal_axes(self.standardized, 4, 0.5).T
        np.testing.assert_allclose(scores.T @ scores / len(scores), np.eye(4), atol=1e-3)

    def test_between_the_two(self) -> None:
        axes = principal_axes(self.standardized, 4, 0)
        variance = (self.standardized @ axes.T).var(0)
        np.testing.assert_allclose(
            principal_axes(self.standardized, 4, 0.25), axes * variance[:, None] ** -0.25, rtol=1e-3, atol=1e-5
        )

    def test_spans_what_varies_most(self) -> None:
        _, _, rows = np.linalg.svd(self.standardized.astype(float), full_matrices=False)
        axes = principal_axes(self.standardized, 3, 0)
        np.testing.assert_allclose(np.abs((axes * rows[:3]).sum(1)), 1, atol=1e-4)

    def test_signs_are_fixed(self) -> None:
        axes = principal_axes(self.standardized, 6, 0.25)
        assert (axes[np.arange(6), np.abs(axes).argmax(1)] > 0).all()
        np.testing.assert_array_equal(axes, principal_axes(self.standardized.copy(), 6, 0.25))
        np.testing.assert_allclose(axes, principal_axes(-self.standardized, 6, 0.25), atol=1e-5)

    def test_count_is_cut_to_the_rank(self) -> None:
        doubled = np.concatenate([self.standardized[:, :3], self.standardized[:, :3]], 1)
        axes = principal_axes(doubled, 6, 0.5)
        assert axes.shape == (3, 6)
        assert np.isfinite(axes).all()
        assert principal_axes(np.zeros((10, 4), np.float32), 2, 0.5).shape == (0, 4)
