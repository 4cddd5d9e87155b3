"""Architectures: sizes as published, shapes, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="nets need torch")

from hsiedge import nets  # noqa: E402
from hsiedge.errors import OptionError  # noqa: E402
from hsiedge.training.classifier import macs_per_pixel  # noqa: E402


def test_hybridsn_has_the_published_number_of_parameters() -> None:
    net = nets.build("hybridsn", 200, 16, 25, components=30)
    projection = sum(parameter.numel() for parameter in net.spectral.parameters())
    assert nets.parameter_count(net) - projection == 5_122_176  # Roy et al. 2020, table I


def test_cnn1d_has_the_published_shape() -> None:
    """Hu et al. 2015, table 1: 20 kernels of 24 on 220 bands, then 100 units."""
    net = nets.build("cnn1d", 220, 16, 1)
    kernel, pool = 25, 5  # a ninth and a fifth, rounded up
    length = (220 - kernel + 1) // pool
    assert nets.parameter_count(net) == 20 * (kernel + 1) + (20 * length + 1) * 100 + 101 * 16


def test_cnn2d_parameters() -> None:
    convolutions = 200 * 64 + 4 * 64 * 64 * 9
    assert nets.parameter_count(nets.build("cnn2d", 200, 16, 13)) == convolutions + 5 * 2 * 64 + 65 * 16


def test_cnn3d_parameters() -> None:
    """Hamida et al. 2018: 20 and 35 filters; on 200 bands the spectrum shrinks to 25 before the classifier."""
    layers = (27 + 1) * 20 + (20 * 3 + 1) * 20 + (20 * 27 + 1) * 35 + 2 * (35 * 3 + 1) * 35 + (35 * 2 + 1) * 35
    net = nets.build("cnn3d", 200, 16, 5)
    classifier = net.classifier.in_features
    assert nets.parameter_count(net) == layers + (classifier + 1) * 16
    assert classifier == 35 * 26


@pytest.mark.parametrize(("name", "patch"), [("cnn1d", 1), ("cnn1d", 5), ("cnn2d", 13), ("cnn3d", 7), ("hybridsn", 11)])
def test_logits_have_one_row_for_each_patch(name: str, patch: int) -> None:
    net = nets.build(name, 103, 9, patch).eval()
    assert net(torch.zeros(3, 103, patch, patch)).shape == (3, 9)


@pytest.mark.parametrize("name", list(nets.NETS))
def test_a_patch_is_labelled_alike_in_any_company(name: str) -> None:
    patch = nets.NETS[name].patch
    net = nets.build(name, 60, 5, patch).eval()
    patches = torch.randn(4, 60, patch, patch, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(patches)[2:3], net(patches[2:3]), rtol=1e-4, atol=1e-5)


def test_macs_of_a_net_counted_by_hand() -> None:
    net = nets.build("cnn2d", 10, 3, 5, widths=(4, 6))
    assert macs_per_pixel(net, 10, 5) == 25 * 10 * 4 + 9 * 4 * 6 * 9 + 6 * 3


@pytest.mark.parametrize(
    ("name", "patch", "options"),
    [
        ("nope", 5, {}),
        ("cnn2d", 6, {}),
        ("cnn2d", 7, {"widths": (64, 64, 64, 64, 64)}),
        ("dscnn", 5, {"widths": (20, 32, 32, 32)}),
        ("cnn2d", 13, {"widths": ()}),
        ("cnn2d", 13, {"depth": 3}),
        ("cnn3d", 3, {}),
        ("cnn3d", 5, {"widths": (1, 2, 3)}),
        ("hybridsn", 7, {}),
        ("hybridsn", 13, {"components": 12}),
        ("cnn1d", 1, {"widths": (5,)}),
    ],
)
def test_what_cannot_be_built_is_said(name: str, patch: int, options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        nets.build(name, 200, 16, patch, **options)


def test_cnn1d_needs_bands() -> None:
    with pytest.raises(OptionError, match="at least 9 bands"):
        nets.build("cnn1d", 8, 3, 1)


@pytest.mark.parametrize("name", ["cnn2d", "dscnn"])
@pytest.mark.parametrize(("patch", "depth"), [(1, 1), (3, 2), (7, 4), (13, None), (15, None)])
def test_depth_follows_the_patch(name: str, patch: int, depth: int | None) -> None:
    whole = nets.build(name, 30, 4, 13).widths
    net = nets.build(name, 30, 4, patch)
    assert net.widths == whole[:depth]
    assert net.eval()(torch.zeros(2, 30, patch, patch)).shape == (2, 4)


def test_mlp_looks_at_one_pixel_and_is_small() -> None:
    net = nets.build("mlp", 200, 16, 5).eval()
    assert nets.parameter_count(net) == 200 * 128 + 128 + 128 * 16 + 16 <= 30_000
    patches = torch.randn(2, 200, 5, 5, generator=torch.Generator().manual_seed(0))
    alone = patches.clone()
    alone[:, :, torch.arange(25).reshape(5, 5) != 12] = 0
    torch.testing.assert_close(net(patches), net(alone))
    assert nets.spec("mlp").epochs == 600
    assert nets.spec("cnn2d").epochs == 30
    assert nets.spec("cnn2d").epochs_for({"widths": (16, 16)}) == nets.spec("dscnn").epochs == 60


def test_liunet_has_the_published_number_of_parameters() -> None:
    """Justo et al. 2023, 1D-Justo-LiuNet on the 112 bands and 3 classes of HYPSO-1."""
    assert nets.parameter_count(nets.build("liunet", 112, 3, 1)) == 4_563
    assert nets.build("liunet", 200, 16, 5).widths == (6, 12, 18, 24)
    assert nets.build("liunet", 90, 3, 1).widths == (6, 12, 18)
    for bands, widths in ((90, (6, 12, 18, 24)), (6, (6,)), (200, ())):
        with pytest.raises(OptionError, match="convolutions at most on"):
            nets.build("liunet", bands, 3, 1, widths=widths)
