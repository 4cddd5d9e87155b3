"""Flights on the command line: each command that takes a scene takes a list of them."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch trains what these tests compress, and is not installed")
pytest.importorskip("torch_pruning", reason="Torch-Pruning cuts channels, and is not installed")
pytest.importorskip("onnx", reason="onnx writes what these tests export, and is not installed")

from hsiedge.card import Card
from hsiedge.graphs.quantization.calibration import choose_pixels
from hsiedge.runtimes import require_card
from hsiedge.scenes.facts import scene_facts
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.splits import TRAIN
from tests import workstation
from tests.conftest import card_for
from tests.three_flights import NAMES, write_flights

SMALL = ("--net", "cnn2d", "--patch", 5, "--widths", "8,8", "--epochs", 1)
FLAGS = [word for name in NAMES for word in ("--cube", f"{name}.img", "--labels", f"{name}-labels.img")]
LISTED = ("--cube", "flights.toml")
STEM = "flights-cnn2d-flights-s0"


@pytest.fixture
def here(tmp_path):
    """A folder with three flights of a corner of Indian Pines, the southern one held out."""
    write_flights(workstation.corner(60), tmp_path, ("", "", "test"))
    return tmp_path


@pytest.fixture
def trained(hsiedge, here):
    """The folder, with a checkpoint."""
    run = hsiedge("train", "flights.toml", *SMALL)
    assert run.code == 0, run.err
    assert "flights split" in run.err
    assert "  south: 0 train, 0 validate" in run.err
    return here


def _card(path) -> Card:
    card = require_card(path)
    assert [flight.name for flight in card.scene.flights] == list(NAMES)
    assert card.split.roles == ["", "", "test"]
    return card


def test_train_prune_distill_export_quantize_and_eval(hsiedge, trained) -> None:
    _card(trained / f"{STEM}.safetensors")
    student = ("--student", "cnn1d", "--widths", "4,8", "--epochs", 1)
    for words in (
        ("prune", f"{STEM}.safetensors", *LISTED, "--ratio", 0.25, "--epochs", 1, "-o", "pruned.safetensors"),
        ("distill", f"{STEM}.safetensors", *LISTED, *student, "-o", "taught.safetensors"),
        ("export", "pruned.safetensors", *LISTED, "-o", "pruned.onnx"),
        ("export", "pruned.onnx", *LISTED, "--scene-graph", "-o", "scene.onnx"),
        ("quantize", "scene.onnx", "--calib", "flights.toml", "--max-drop", 50, "-o", "int8.onnx"),
        ("eval", "int8.onnx", *LISTED, "--json", "eval.json"),
    ):  # fmt: skip
        run = hsiedge(*words)
        assert run.code == 0, run.err
    _card(trained / "int8.onnx")
    assert "flight south (held out, no pixel of it trained): OA" in run.out
    result = json.loads((trained / "eval.json").read_text())
    assert [(entry["name"], entry["role"], entry["n"]) for entry in result["flights"]] == [("south", "test", result["n"])]
    assert result["flights"][0]["oa"] == result["oa"]


def test_qat_and_compress(hsiedge, trained) -> None:
    run = hsiedge("qat", f"{STEM}.safetensors", *LISTED, "--epochs", 1, "-o", "qat.safetensors")
    assert run.code == 0, run.err
    _card(trained / "qat.onnx")
    words = ("--max-size", "40kB", "--max-drop", 90, "--teacher", f"{STEM}.safetensors", "-o", "small.onnx")
    run = hsiedge("compress", "flights.toml", *words)
    assert run.code == 0, run.err
    _card(trained / "small.onnx")


def test_study(hsiedge, here) -> None:
    pytest.importorskip("distributed", reason="Dask runs studies, and is not installed")
    (here / "study.toml").write_text(
        'scenes = ["flights.toml"]\nsplits = ["flights"]\nseeds = [0]\nepochs = 1\n[nets.cnn2d]\npatch = 5\nwidths = [8, 8]\n'
    )
    run = hsiedge("study", "study.toml", "-o", "out", "--workers", 1, "--measure", "no")
    assert run.code == 0, run.err


def test_flights_by_name_and_by_flags_are_the_same(hsiedge, here) -> None:
    for name in NAMES:
        run = hsiedge("scenes", "pack", "--cube", f"{name}.img", "--labels", f"{name}-labels.img")
        assert run.code == 0, run.err
    packs = [f"{name}.npz" for name in NAMES]
    cards = []
    for words in (packs, FLAGS):
        run = hsiedge("train", *words, "--hold-out", "south", *SMALL, "-o", "net.safetensors")
        assert run.code == 0, run.err
        cards.append(_card(here / "net.safetensors"))
    assert cards[0].accuracy == cards[1].accuracy
    assert [entry.sha256 for entry in cards[0].scene.flights] == [entry.sha256 for entry in cards[1].scene.flights]


def test_some_of_a_models_flights_are_not_taken_for_a_strangers(hsiedge, trained) -> None:
    assert hsiedge("export", f"{STEM}.safetensors", *LISTED, "-o", "net.onnx").code == 0
    for command in (("eval", "net.onnx", "--cube"), ("quantize", "net.onnx", "-o", "int8.onnx", "--cube")):
        run = hsiedge(*command, "middle.img", "--labels", "middle-labels.img")
        assert "middle is one of the flights that the model was made of (north, middle, south); give all of them" in run.error
    run = hsiedge("quantize", "net.onnx", "-o", "int8.onnx", "--cube", "south.img", "--labels", "south-labels.img")
    assert "south is one of the flights" in run.error  # what tests does not calibrate
    run = hsiedge("prune", f"{STEM}.safetensors", "--cube", "north.img", "--labels", "north-labels.img")
    assert run.code == 2
    assert not list(trained.glob("*int8*"))


def test_what_does_not_go_together_is_one_line(hsiedge, here) -> None:
    assert "--labels: one for each cube was expected: 3, not 2" in hsiedge("train", *FLAGS[:-2]).error
    assert (
        "no flight is called so; there are north, middle, south" in hsiedge("train", "flights.toml", "--hold-out", "east").error
    )
    assert "a random split knows no roles" in hsiedge("train", "flights.toml", "--split", "random").error
    shutil.copy(here / "north.img", here / "copy.img")
    shutil.copy(here / "north.hdr", here / "copy.hdr")
    words = ("--cube", "north.img", "--labels", "north-labels.img", "--cube", "copy.img", "--labels", "north-labels.img")
    assert "copy is the same cube as north" in hsiedge("train", *words).error
    assert not [*here.glob("*.safetensors")]


def test_calibration_draws_from_all_flights_that_train(here) -> None:
    scene = open_scene(here / "flights.toml")
    split = scene.split()
    card = dataclasses.replace(card_for(scene, 5), split=split.facts, scene=scene_facts(scene, split.pixels(TRAIN)))
    pixels = choose_pixels(scene, card, 300, 0)
    flights = np.searchsorted([20, 40], pixels.calibration // scene.shape[1], "right")
    assert (np.bincount(flights, minlength=3) > 50).tolist() == [True, True, False]
