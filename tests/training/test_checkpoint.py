"""Checkpoints: a round trip, and files from strangers."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="checkpoints need torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from safetensors.torch import load_file, save_file  # noqa: E402

from hsiedge.card import KEY, NetFacts  # noqa: E402
from hsiedge.errors import CardError, ModelError  # noqa: E402
from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from tests import workstation  # noqa: E402


@pytest.mark.parametrize("net", list(workstation.SMALL))
def test_round_trip(net: str, tmp_path: Path) -> None:
    checkpoint = workstation.trained(net, 1)
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint)
    read = load_checkpoint(path)
    assert read.card.to_json() == checkpoint.card.to_json()
    ours, theirs = read.classifier.state_dict(), checkpoint.classifier.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not read.classifier.training


def test_not_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_checkpoint(path)


def test_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(workstation.checkpoint_file("cnn1d").read_bytes()[:-100])
    with pytest.raises(ModelError, match="safetensors"):
        load_checkpoint(path)


def test_without_a_card(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(CardError, match="has no Card"):
        load_checkpoint(path)


def test_weights_of_another_net(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    card = workstation.checkpoint("cnn1d").card
    save_file({"a": torch.zeros(3)}, path, {KEY: card.to_json()})
    with pytest.raises(ModelError, match="not those of the cnn1d"):
        load_checkpoint(path)


def test_a_card_with_absurd_widths_takes_no_memory(tmp_path: Path) -> None:
    """2 ** 46 weights: only a net that is never given memory gets as far as the comparison."""
    path = tmp_path / "a.safetensors"
    card = workstation.checkpoint("cnn2d").card
    absurd = NetFacts("cnn2d", {"widths": [1 << 20, 1 << 23]}, 1, 1)
    state = load_file(workstation.checkpoint_file("cnn2d"))
    save_file(state, path, {KEY: dataclasses.replace(card, net=absurd).to_json()})
    with pytest.raises(ModelError, match="not those of the cnn2d"):
        load_checkpoint(path)


def test_an_exported_model_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    card = dataclasses.replace(workstation.checkpoint("cnn1d").card, kind="patch")
    save_file({"a": torch.zeros(3)}, path, {KEY: card.to_json()})
    with pytest.raises(ModelError, match="not of a checkpoint"):
        load_checkpoint(path)
