"""A run that was stopped goes on to the same bits, tells another's state from its own, and keeps a log of its epochs."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")

from hsiedge.compression.distill import distill  # noqa: E402
from hsiedge.compression.prune import prune_magnitude, prune_structured  # noqa: E402
from hsiedge.compression.qat import qat  # noqa: E402
from hsiedge.errors import OptionError  # noqa: E402
from hsiedge.progress import Progress  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.scenes.splits import Split, draw  # noqa: E402
from hsiedge.training.checkpoint import Checkpoint  # noqa: E402
from hsiedge.training.fit import FitSettings, deterministic  # noqa: E402
from hsiedge.training.run import current, running  # noqa: E402
from hsiedge.training.train import _Epochs, train  # noqa: E402
from tests import workstation  # noqa: E402

SETTINGS = FitSettings(epochs=4, batch=16)
Training = Callable[[Progress], Checkpoint]


class StoppedError(Exception):
    """The end of a training before its time."""


def parent(refit: bool = False, seed: int = 0, progress: Progress = lambda share: None) -> Checkpoint:
    scene = workstation.corner()
    split = draw("random", scene, seed)
    return train(scene, split, "cnn2d", 5, SETTINGS, progress, refit=refit, widths=(8, 8, 8))


@functools.cache
def teacher(refit: bool = False) -> Checkpoint:
    """The net that methods start from, trained outside of the run that is stopped."""
    return parent(refit)


def material() -> tuple[Scene, Split]:
    return workstation.corner(), draw("random", workstation.corner(), 0)


METHODS: Mapping[str, Training] = {
    "train": lambda tick: parent(progress=tick),
    "refit": lambda tick: parent(refit=True, progress=tick),
    "magnitude": lambda tick: prune_magnitude(teacher(), *material(), 0.5, settings=SETTINGS, progress=tick),
    "rounds": lambda tick: prune_structured(
        teacher(refit=True), *material(), 0.5, settings=SETTINGS, progress=tick, rounds=2, soft_labels=True
    ),
    "features": lambda tick: distill(
        teacher(), *material(), "cnn2d", "features", settings=SETTINGS, progress=tick, widths=(4, 4)
    ),
    "unlabelled": lambda tick: distill(
        teacher(), *material(), "hybridsn", patch=9, unlabelled=True, settings=SETTINGS, progress=tick,
        components=14, widths=(4, 4, 8, 16, 32, 16),
    ),
    "qat": lambda tick: qat(teacher(), *material(), 8, SETTINGS, progress=tick).checkpoint,
}  # fmt: skip


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    for ours, theirs in ((one.classifier, other.classifier), (one.before, other.before)):
        mine, its = (dict(net.state_dict()) if net is not None else {} for net in (ours, theirs))
        assert mine.keys() == its.keys()
        assert all(torch.equal(mine[name], its[name]) for name in mine)


def stopped(training: Training, state: Path, share: float, log: Path | None = None) -> list[str]:
    """Trains until so much is done; what it says."""
    lines: list[str] = []

    def tick(done: float) -> None:
        if done > share:
            raise StoppedError

    with pytest.raises(StoppedError), running(state=state, log=log, say=lines.append):
        training(tick)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_goes_on_to_the_same_bits(method: str, tmp_path: Path) -> None:
    training, state, log, lines = METHODS[method], tmp_path / "state", tmp_path / "log.csv", list[str]()
    whole = training(lambda share: None)
    for share in (0.4, 0.7):
        stopped(training, state, share, log)
    assert list(tmp_path.glob("state-*"))
    with running(state=state, log=log, say=lines.append):
        assert_same(training(lambda share: None), whole)
    assert lines
    assert all(f"are taken from {state}" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows if row["fit"] == rows[-1]["fit"]][-1] in (2, 4)
    assert all(float(row["loss"]) > 0 for row in rows)


def test_the_choice_of_epochs_is_kept() -> None:
    chosen, again = _Epochs(), _Epochs()
    chosen.share, chosen._hits, chosen._judged, chosen.state = 0.6, 41, 7, {"weight": torch.ones(2), "judged": torch.zeros(1)}
    again.load_state_dict(chosen.state_dict())
    assert (again.share, again._hits, again._judged) == (0.6, 41, 7)
    assert again.state.keys() == chosen.state.keys()
    assert all(torch.equal(again.state[name], chosen.state[name]) for name in chosen.state)


def test_another_training_begins_anew(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "state-notes").touch()
    stopped(METHODS["train"], state, 0.6)
    with running(state=state), pytest.warns(UserWarning, match=r"state-1 is not the state of this training .other data"):
        assert_same(parent(seed=1), parent(seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["state-notes"]


@pytest.mark.parametrize(
    ("harm", "reason"), [("cut", "damaged"), ("flip", "damaged"), ("grow", "too large"), ("text", "damaged")]
)
def test_a_damaged_state_is_not_taken(harm: str, reason: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    stopped(METHODS["train"], state, 0.6)
    file = tmp_path / "state-1"
    data = file.read_bytes()
    flipped = data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]
    file.write_bytes({"cut": data[:-200], "flip": flipped, "grow": data + bytes(3 << 20), "text": b"state"}[harm])
    with running(state=state), pytest.warns(UserWarning, match="too large" if harm == "grow" else "damaged"):
        assert_same(parent(), parent())


def test_a_log_has_loss_and_accuracy_of_each_epoch(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    with running(log=log) as run:
        checkpoint = parent(refit=True)
    assert current() is not run
    rows = list(csv.reader(log.read_text().splitlines()))
    assert rows[0] == ["fit", "epoch", "loss", "validation_oa"]
    assert [row[:2] for row in rows[1:5]] == [["train", str(epoch)] for epoch in range(1, 5)]
    assert float(rows[1][2]) > float(rows[4][2])  # it learns
    assert max(float(row[3]) for row in rows[1:5]) == pytest.approx(checkpoint.card.accuracy[0].oa, abs=0.01)
    assert {(row[0], row[3]) for row in rows[5:]} == {("refit", "")}
    with pytest.raises(OptionError, match=r"a log is written as .csv"), running(log=tmp_path / "log.txt"):
        pass


def test_a_log_changes_no_weight(tmp_path: Path) -> None:
    with running(log=tmp_path / "log.csv"):
        logged = parent()
    assert_same(logged, parent())


def test_devices() -> None:
    with running("auto") as run:
        assert run.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert run.facts == ({} if run.device.type == "cpu" else {"device": torch.cuda.get_device_name()})
    with pytest.raises(OptionError, match="choose cpu, cuda or auto"), running("tpu"):
        pass
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="device=cuda: PyTorch sees no GPU here; use device=cpu"), running("cuda"):
            pass


def test_cards_say_on_which_device(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = pytest.importorskip("rich.console")
    from hsiedge.report.terminal.model import card_table

    card = parent().card
    step = dataclasses.replace(card.lineage[0], options={**card.lineage[0].options, "device": "NVIDIA H100"})
    for lineage, words in ((card.lineage, "train on a CPU ("), ([step], "train on NVIDIA H100 (")):
        console = rich.Console(width=200, record=True, file=io.StringIO())
        console.print(card_table(dataclasses.replace(card, lineage=lineage), Path(__file__)))
        assert words in console.export_text()


def test_memory_is_not_filled_in_training() -> None:
    memory = torch.utils.deterministic
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert not memory.fill_uninitialized_memory
    assert memory.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
