"""prune, distill, qat and compress, as a user runs them."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("torch", reason="torch trains what these tests compress, and is not installed")
pytest.importorskip("torch_pruning", reason="Torch-Pruning cuts channels, and is not installed")

from hsiedge.runtimes import require_card
from tests import workstation

STEM = "indian_pines-cnn2d-random-s0"


@pytest.fixture
def here(tmp_path):
    """A folder with a trained checkpoint."""
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / f"{STEM}.safetensors")
    return tmp_path


def test_structured_pruning_to_a_smaller_model(hsiedge, here) -> None:
    run = hsiedge("prune", "--ratio", 0.5, "--epochs", 1, "--criterion", "taylor")
    assert run.code == 0, run.err
    assert "36 of 72 channels are gone: 15,712 -> 5,272 parameters" in run.err
    assert "less than asked" not in run.err
    small = here / f"{STEM}-structured0.5.safetensors"
    assert require_card(small).net.options["widths"] == [12, 12, 12]
    assert hsiedge("export").code == 0
    model = here / f"{STEM}-structured0.5.onnx"
    assert [step.step for step in require_card(model).lineage] == ["train", "prune", "export"]
    assert hsiedge("quantize", "--calib", "indian_pines", "--max-drop", 50).code == 0
    assert (here / f"{STEM}-structured0.5-int8.onnx").exists()


def test_a_result_that_pruned_less_than_asked_says_so(hsiedge, here) -> None:
    run = hsiedge("prune", "--ratio", 0.99, "--epochs", 1)
    assert run.code == 0, run.err
    assert "less than asked" in run.err


def test_magnitude_pruning_sells_no_speed(hsiedge, here) -> None:
    run = hsiedge("prune", "--method", "magnitude", "--ratio", 0.9, "--epochs", 1)
    assert run.code == 0, run.err
    assert "(90.0 %)" in run.err
    assert "no faster, and no smaller when loaded" in run.err
    assert "MACs" not in run.err


def test_distilling_takes_the_newest_net_that_is_no_student(hsiedge, here) -> None:
    for unlabelled in ((), ("--unlabelled",)):
        run = hsiedge("distill", "--epochs", 1, "--widths", "8,12,12", *unlabelled)
        assert run.code == 0, run.err
        assert "cnn2d -> dscnn: 15,712 ->" in run.err
    card = require_card(here / "indian_pines-dscnn-random-s0-distilled.safetensors")
    assert card.lineage[-1].options["transductive"] is True
    shown = hsiedge("show", here / "indian_pines-dscnn-random-s0-distilled.safetensors", "--json", "-")
    assert json.loads(shown.out)["lineage"][-1]["step"] == "distill"


@pytest.mark.parametrize(("bits", "tail"), [(8, "qat8-int8"), (3, "qat3-int3-simulated")])
def test_qat_stands_beside_its_control(hsiedge, here, bits, tail) -> None:
    run = hsiedge("qat", "--bits", bits, "--epochs", 1)
    assert run.code == 0, run.err
    assert f"control (as many steps in float, then quantized to {bits} bits): " in run.err
    assert ("simulated" in run.err) == (bits < 8)
    model = here / f"{STEM}-{tail}.onnx"
    shown = hsiedge("show", model).out
    assert ("(simulated)" in shown) == (bits < 8)
    assert (here / f"{STEM}-qat{bits}.safetensors").exists()
    assert "test pixels" in hsiedge("eval", model).out


def test_compress_says_what_it_tried_and_leaves_one_model(hsiedge, here) -> None:
    run = hsiedge("compress", "indian_pines", "--max-size", "1MiB", "--max-drop", 100)
    assert run.code == 0, run.err
    assert "quantize" in run.out
    model = here / f"{STEM}-int8.onnx"
    assert model.stat().st_size <= 1 << 20
    assert f"{model.stat().st_size:,} bytes of 1,048,576" in run.err
    assert sorted(path.name for path in here.iterdir()) == sorted([model.name, f"{STEM}.safetensors"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prune", "--method", "magic"], "no method is called 'magic'"),
        (["prune", "--method", "magnitude", "--criterion", "l1"], "--criterion: goes with structured pruning"),
        (["prune", "--criterion", "hunch"], "no criterion is called 'hunch'"),
        (["prune", "--ratio", 1.5], "between 0 and 1"),
        (["prune", "--epochs", 0], "epochs 0"),
        (["prune", "nothing.safetensors"], "no such file"),
        (["distill", "--student", "giant"], "no net is called 'giant'"),
        (["distill", "--method", "dreams"], "no method is called 'dreams'"),
        (["qat", "--bits", 7], "choose among 8, 6, 4, 3, 2"),
        (["qat", "-o", "nowhere/here/x.safetensors", "--epochs", -1], "epochs -1"),
        (["compress", "indian_pines", "--max-size", "a lot"], "not a size"),
        (["compress", "indian_pines", "--max-drop", -1], "0 or more"),
        (["compress"], "name one scene"),
        (["compress", "indian_pines", "--teacher", "nothing.safetensors"], "no such file"),
        (["compress", "indian_pines", "--seed", 3, "--teacher", f"{STEM}.safetensors"], "not the split"),
    ],
)
def test_wrong_input_is_one_line(hsiedge, here, words, message) -> None:
    before = sorted(here.iterdir())
    assert message in hsiedge(*words).error
    assert sorted(here.iterdir()) == before
