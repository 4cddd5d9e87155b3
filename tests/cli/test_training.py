"""Runs of training as a user sees them: log and picture, device, and what an interrupted one leaves and takes up."""

from __future__ import annotations

import shutil
import sys

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from hsiedge.training import fit  # noqa: E402
from tests import workstation  # noqa: E402

TRAIN = ("train", "indian_pines", "--net", "cnn1d", "--widths", "4,8", "--epochs", 3)


@pytest.fixture
def here(tmp_path):
    """A folder with a trained checkpoint."""
    shutil.copy(workstation.checkpoint_file("cnn2d"), tmp_path / "m.safetensors")
    return tmp_path


def test_a_log_has_a_picture_beside_it(hsiedge, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="pictures are matplotlib's")
    run = hsiedge(*TRAIN, "--log", "epochs.csv", "-o", "m.safetensors")
    assert run.code == 0, run.err
    assert len((tmp_path / "epochs.csv").read_text().splitlines()) == 4
    assert (tmp_path / "epochs.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.csv", "epochs.png", "m.safetensors"]


def test_without_matplotlib_the_log_is_all(hsiedge, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "hsiedge.report.training_log", raising=False)
    run = hsiedge(*TRAIN, "--log", "epochs.csv", "-o", "m.safetensors")
    assert run.code == 0, run.err
    assert "epochs.png, a picture of the log, needs a package that is not installed: pip install 'hsiedge[report]'" in run.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.csv", "m.safetensors"]


@pytest.mark.slow
def test_folds_have_a_log_each(hsiedge, tmp_path) -> None:
    run = hsiedge(*TRAIN[:-1], 1, "--split", "blocks", "--folds", 2, "--log", "l.csv", "-o", "m.safetensors")
    assert run.code == 0, run.err
    assert {path.name for path in tmp_path.glob("*.csv")} == {"l-f1of2.csv", "l-f2of2.csv"}


def test_the_device_is_cpu_cuda_or_auto(hsiedge, here) -> None:
    assert "--device tpu: choose cpu, cuda or auto" in hsiedge(*TRAIN, "--device", "tpu").error
    if not torch.cuda.is_available():
        for command in (TRAIN, ("prune", "m.safetensors"), ("distill", "m.safetensors"), ("qat", "m.safetensors")):
            run = hsiedge(*command, "--device", "cuda")
            assert "--device cuda: PyTorch sees no GPU here; use --device cpu" in run.error, command
        assert [path.name for path in here.iterdir()] == ["m.safetensors"]
        assert hsiedge(*TRAIN, "--device", "auto", "-o", "n.safetensors").code == 0
    assert "a log is written as .csv" in hsiedge(*TRAIN, "--log", "l.txt").error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "state"),
    [
        (TRAIN, "indian_pines-cnn1d-random-s0.safetensors.resume"),
        (("prune", "p.safetensors", "--epochs", 2), "indian_pines-cnn1d-random-s0-prune.resume"),
        (
            ("distill", "p.safetensors", "--student", "cnn1d", "--epochs", 2, "--widths", "4,8"),
            "indian_pines-cnn1d-random-s0-distill.resume",
        ),
        (("qat", "p.safetensors", "--epochs", 2, "-o", "q.safetensors"), "q.safetensors.resume"),
    ],
    ids=("train", "prune", "distill", "qat"),
)
def test_what_ctrl_c_leaves_is_taken_up(hsiedge, here, monkeypatch, words, state) -> None:
    shutil.copy(workstation.checkpoint_file("cnn1d"), here / "p.safetensors")  # a net of pixels takes a fifth of the time
    step, steps = fit._Loop.step, []

    def interrupted(loop) -> None:
        steps.append(loop)
        if loop.done > 0.7 * loop.steps:
            raise KeyboardInterrupt
        step(loop)

    monkeypatch.setattr(fit._Loop, "step", interrupted)
    run = hsiedge(*words)
    assert run.code == 130
    assert f"what was trained so far is kept in {state}-*; the same command goes on from there" in run.err
    assert (here / f"{state}-1").is_file()
    monkeypatch.setattr(fit._Loop, "step", step)
    run = hsiedge(*words)
    assert run.code == 0, run.err
    assert f"epochs are taken from {state}-1" in run.err
    assert not list(here.glob("*.resume-*"))
