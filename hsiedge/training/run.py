"""A run of training: its device, its log, and the state from which it goes on where it was killed.

A command fits one net or several, in an order that repeats. Each fit has a number in its run and a file for its state,
which it writes at ends of epochs and when it is done: begun again, the same command takes over the fits that are done, and goes
on within the one that is not, to the same bits. A state tells by a digest what it is of, so that another command's is not taken
for it.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hsiedge import files
from hsiedge.errors import OptionError
from hsiedge.runtimes import seal

_LOG = logging.getLogger(__name__)
_WRITING = 0.03  # of the time, at most, goes into states
_LOG_SECONDS = 1.0  # between two writings of the log
_FACTS = "hsiedge.training"


@dataclass(frozen=True)
class Epoch:
    """One epoch of a fit.

    Attributes:
        fit: what is fitted: "train", "refit", "prune", "qat" and so on.
        number: from 1 on.
        loss: mean over the epoch's steps, of the loss that is fitted.
        validation_oa: percent of validation pixels labelled right at its end; None where nobody asked, or they train.
    """

    fit: str
    number: int
    loss: float
    validation_oa: float | None


@dataclass
class Run:
    """A run: facts that its fits share (`running`).

    Attributes:
        device: that they are fitted on.
        log: the .csv of epochs; None for none.
        epochs: of all fits, in order.
        fits: how many were begun.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    log: Path | None = None
    epochs: list[Epoch] = field(default_factory=list)
    fits: int = 0
    _state: Path | None = None
    _say: Callable[[str], None] = _LOG.info
    _logged: float = 0.0

    @property
    def facts(self) -> dict[str, str]:
        """Facts for the Card: nothing of a CPU, the name of a GPU."""
        return {} if self.device.type == "cpu" else {"device": torch.cuda.get_device_name(self.device)}

    def begin(self, title: str) -> Fit:
        """The next fit."""
        self.fits += 1
        place = None if self._state is None else _place(self._state, self.fits)
        return Fit(self, title, place, self._say)

    def forget(self, first: int = 1) -> None:
        """Removes the states of fits from one on."""
        if self._state is not None:
            for path in self._state.parent.glob(f"{glob.escape(self._state.name)}-*"):
                number = path.name.rpartition("-")[2]
                if number.isdecimal() and int(number) >= first:
                    path.unlink(missing_ok=True)

    def add(self, epochs: list[Epoch]) -> None:
        """Adds to the log, and writes it, if that was not done a moment ago."""
        self.epochs += epochs
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self.write_log()

    def write_log(self) -> None:
        """Writes the log, whole. Raises OutputError."""
        if self.log is None or not self.epochs:
            return
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("fit", "epoch", "loss", "validation_oa"))
        for epoch in self.epochs:
            judged = "" if epoch.validation_oa is None else f"{epoch.validation_oa:.2f}"
            lines.writerow((epoch.fit, epoch.number, f"{epoch.loss:.6g}", judged))
        files.write_bytes(self.log, text.getvalue().encode())
        self._logged = time.monotonic()


class Fit:
    """One fit of a run: its epochs so far, and the file of its state."""

    def __init__(self, run: Run, title: str, path: Path | None, say: Callable[[str], None]) -> None:
        self._run, self._title, self._path, self._say, self._number = run, title, path, say, run.fits
        self._epochs: list[Epoch] = []
        self._digest, self._written, self._cost = "", 0.0, 0.0

    @property
    def kept(self) -> bool:
        """Whether a state is written at all."""
        return self._path is not None

    @property
    def logged(self) -> bool:
        """Whether there is a log, for which validation pixels are to be labelled at ends of epochs."""
        return self._run.log is not None

    def restore(self, digest: str, largest: int) -> tuple[int, dict[str, Tensor]] | None:
        """Steps done, and the tensors of the state; None where there is none of this fit.

        Args:
            digest: of all that decides what the fit comes to.
            largest: bytes of the file, at most.
        """
        self._digest = digest
        if self._path is None or not self._path.is_file():
            return None
        try:
            step, epochs, tensors = _read(self._path, digest, largest)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{self._path} is not the state of this training ({error}), which begins anew", stacklevel=2)
            self._run.forget(self._number)
            return None
        self._epochs = [Epoch(self._title, *entry) for entry in epochs]
        self._run.add(self._epochs)
        self._say(f"{self._title}: {len(epochs)} epochs are taken from {self._path}")
        return step, tensors

    def end_epoch(self, number: int, loss: float, validation_oa: float | None) -> None:
        """Notes an epoch that is over."""
        epoch = Epoch(self._title, number, loss, validation_oa)
        self._epochs.append(epoch)
        self._run.add([epoch])

    def keep(self, step: int, state: Callable[[], Mapping[str, Tensor]], *, done: bool) -> None:
        """Writes the state after so many steps, unless that is soon after the last and not the end. Raises OutputError."""
        if self._path is None or not (done or time.monotonic() - self._written >= self._cost / _WRITING):
            return
        began, place = time.monotonic(), seal.new_place()
        epochs = [(epoch.number, epoch.loss, epoch.validation_oa) for epoch in self._epochs]
        facts = json.dumps({"digest": self._digest, "step": step, "epochs": epochs})
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state().items()}
        files.write_bytes(self._path, seal.sealed(save(tensors, {_FACTS: facts, seal.KEY: place}), place))
        self._written = time.monotonic()
        self._cost = self._written - began


def _read(path: Path, digest: str, largest: int) -> tuple[int, list[tuple[int, float, float | None]], dict[str, Tensor]]:
    """Step, epochs and tensors of a state. Raises ValueError where it is another fit's, or damaged."""
    if path.stat().st_size > largest:
        raise ValueError("it is too large")
    if seal.holds(path) is not True:
        raise ValueError("it is damaged")
    with safe_open(path, "pt") as file:
        facts = json.loads((file.metadata() or {})[_FACTS])
        if facts["digest"] != digest:
            raise ValueError("other data, options, device, threads or versions")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return int(facts["step"]), [(int(number), float(loss), oa) for number, loss, oa in facts["epochs"]], tensors


def _place(state: Path, number: int) -> Path:
    return state.with_name(f"{state.name}-{number}")


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def current() -> Run:
    """The run inside whose block this is called; outside of any, a new one on the CPU that keeps nothing."""
    return _RUN.get() or Run()


@contextmanager
def running(
    device: str = "cpu", *, state: Path | None = None, log: Path | None = None, say: Callable[[str], None] = _LOG.info
) -> Iterator[Run]:
    """Has all that is trained inside the block belong to one run.

    Args:
        device: "cpu", "cuda", or "auto": the GPU where there is one.
        state: file for the state, whose name gets the number of each fit ("m.resume-1"); gone once the block ends well, and
            else what the same block goes on from.
        log: .csv of loss and validation accuracy an epoch.
        say: takes a line where a fit goes on from its state.

    Raises:
        OptionError: no such device, or a log that does not end in .csv.
        OutputError: state or log cannot be written.
    """
    if log is not None and log.suffix != ".csv":
        raise OptionError("a log is written as .csv", option="log", value=log)
    for path in (log, state and _place(state, 1)):
        if path is not None:
            files.check_writable(path)
    run = Run(torch_device(device), log, _state=state, _say=say)
    token = _RUN.set(run)
    try:
        yield run
        run.forget()
    finally:
        _RUN.reset(token)
        run.write_log()


def torch_device(name: str) -> torch.device:
    """The device that is called "cpu", "cuda" or "auto". Raises OptionError where it is not there."""
    if name not in ("cpu", "cuda", "auto"):
        raise OptionError("choose cpu, cuda or auto", option="device", value=name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise OptionError("PyTorch sees no GPU here", option="device", value=name, use={"device": "cpu"})
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # products that repeat to the bit, as `deterministic` asks
    return torch.device("cuda", torch.cuda.current_device())
