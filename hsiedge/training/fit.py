"""The fit loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsiedge import __version__
from hsiedge.progress import Progress, silent
from hsiedge.quiet import quiet
from hsiedge.training.patch_image import PatchImage
from hsiedge.training.run import current


@dataclass(frozen=True)
class Batch:
    """Batch of patches that one step learns from.

    Attributes:
        patches: float32 `(n, channels, p, p)`, turned by `symmetry` (see `turn`).
        targets: class indices `(n,)`.
        pixels: flat pixel indices `(n,)` that the patches lie around.
        image: the scene that they were cut from.
    """

    patches: Tensor
    targets: Tensor
    pixels: Tensor
    symmetry: int
    image: PatchImage


Loss = Callable[[Any, Batch], Tensor]
"""Loss of the net that is fitted on a batch, a scalar.

A loss that is a Module itself has its own parameters fitted along. Its attribute `facts`, where it has one, says as plain data
what its state does not: by these a state of another loss is told.
"""

AfterStep = Callable[[float], None]
"""Called after each step with the share of all steps that is done. One that changes by it is `Stateful`."""

Labelled = tuple[NDArray[np.intp], NDArray[np.int64]]
"""Flat pixel indices `(n,)`, and the class index of each."""

_JUDGED = 256  # patches at a time


@runtime_checkable
class Stateful(Protocol):
    """Part of a fit that is kept in the state of a run: a Module, or something like one."""

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that change from step to step, by name."""

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Takes them up again."""


@dataclass(frozen=True)
class FitSettings:
    """Settings of the fit: AdamW (Loshchilov and Hutter 2019) under a one-cycle rate (Smith and Topin 2019).

    Attributes:
        epochs: passes over the training pixels, in number of steps.
        batch: patches a step.
        rate: peak learning rate.
        decay: weight decay.
        smoothing: label smoothing (Szegedy et al. 2016).
        balance: classes are sampled with probability ~ count ** (1 - balance); 0 is plain sampling, 1 all classes alike.
    """

    epochs: int = 60
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.01
    smoothing: float = 0.1
    balance: float = 0.5


def fit(
    net: nn.Module,
    image: PatchImage,
    pixels: NDArray[np.intp],
    targets: NDArray[np.int64],
    settings: FitSettings,
    seed: int,
    progress: Progress = silent,
    loss: Loss | None = None,
    after_step: AfterStep | None = None,
    stop: float = 1.0,
    *,
    validation: Labelled | None = None,
    title: str = "train",
) -> None:
    """Fits `net` in place, on its own device, to `targets` (class indices) at flat `pixels`; leaves it in evaluation mode.

    The loss is by default the cross entropy with smoothed labels. `stop` ends the fit after that share of the schedule.

    Patches are flipped and rotated at random (one of the square's eight symmetries a step). On one machine, with one
    number of threads, a run repeats to the bit, also where it goes on from the state of one that was killed (`run.running`).

    Args:
        validation: pixels that are labelled after each epoch, for the log of the run; nothing is chosen on them here.
        title: of the fit, in the log.
    """
    loop, record = _Loop(net, image, pixels, targets, settings, seed, loss, after_step), current().begin(title)
    last = max(1, round(stop * loop.steps))
    if record.kept:
        kept = record.restore(loop.digest(title=title, last=last), loop.largest)
        if kept is not None:
            loop.restore(*kept)
    net.train()
    with deterministic():
        while loop.done < last:
            epoch = loop.epoch
            loop.step()
            progress(loop.done / loop.steps)
            if loop.epoch > epoch or loop.done == last:
                oa = 100 * hits(net, image, *validation) / len(validation[0]) if validation and record.logged else None
                record.end_epoch(epoch + 1, loop.mean_loss(), oa)
                record.keep(loop.done, loop.state, done=loop.done == last)
    net.eval()


class _Loop:
    """A fit in progress: all that changes from step to step, so that it can be kept and gone on from.

    Attributes:
        steps: of the whole schedule; `done` of them are done.
    """

    def __init__(
        self,
        net: nn.Module,
        image: PatchImage,
        pixels: NDArray[np.intp],
        targets: NDArray[np.int64],
        settings: FitSettings,
        seed: int,
        loss: Loss | None,
        after_step: AfterStep | None,
    ) -> None:
        self._draws = torch.Generator().manual_seed(seed)  # on the CPU, whatever the device
        self._net, self._device, self._after_step = net, next(net.parameters()).device, after_step
        self._image, self._loss = image.to(self._device), loss or cross_entropy(settings)
        own = self._loss.to(self._device).parameters() if isinstance(self._loss, nn.Module) else ()
        self._at, self._classes, self._settings = torch.from_numpy(pixels), torch.from_numpy(targets), settings
        self._weights = torch.bincount(self._classes).double()[self._classes] ** -settings.balance
        self.steps, self.done = max(2, settings.epochs * len(pixels) // settings.batch), 0
        self._parameters = [*net.parameters(), *own]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=settings.rate, weight_decay=settings.decay)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, settings.rate, total_steps=self.steps)
        self._sum, self._summed = torch.zeros((), dtype=torch.float64, device=self._device), 0

    @property
    def epoch(self) -> int:
        """Whole epochs that are done."""
        return self.done * self._settings.epochs // self.steps

    def step(self) -> None:
        """One step, and what is called after it."""
        chosen = torch.multinomial(self._weights, self._settings.batch, replacement=True, generator=self._draws)
        symmetry = int(torch.randint(8, (), generator=self._draws))
        places, labels = self._at[chosen].to(self._device), self._classes[chosen].to(self._device)
        self._optimizer.zero_grad()
        patches = turn(self._image.patches(places), symmetry)
        value = self._loss(self._net, Batch(patches, labels, places, symmetry, self._image))
        value.backward()
        self._optimizer.step()
        self._schedule.step()
        self.done, self._summed = self.done + 1, self._summed + 1
        self._sum += value.detach()
        if self._after_step is not None:
            self._after_step(self.done / self.steps)

    def mean_loss(self) -> float:
        """Mean loss of the steps since it was last asked for."""
        mean = float(self._sum) / self._summed
        self._sum.zero_()
        self._summed = 0
        return mean

    def _parts(self) -> dict[str, Stateful]:
        """All that has tensors, but for the optimizer, by the prefix of their names."""
        parts = {"net": self._net, "loss": self._loss, "after_step": self._after_step}
        return {name: part for name, part in parts.items() if isinstance(part, Stateful)}

    def state(self) -> dict[str, Tensor]:
        """Tensors of the state."""
        tensors = {
            f"{part}.{name}": value for part, owner in self._parts().items() for name, value in owner.state_dict().items()
        }
        for place, parameter in enumerate(self._parameters):
            tensors |= {f"optimizer.{place}.{name}": value for name, value in self._optimizer.state[parameter].items()}
        tensors |= {"random.draws": self._draws.get_state(), "random.torch": torch.get_rng_state()}
        return tensors if self._device.type == "cpu" else {**tensors, "random.cuda": torch.cuda.get_rng_state(self._device)}

    def restore(self, done: int, tensors: Mapping[str, Tensor]) -> None:
        """Takes up the state after `done` steps."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        for part, owner in self._parts().items():
            owner.load_state_dict(under(f"{part}."))
        moments = {place: under(f"optimizer.{place}.") for place in range(len(self._parameters))}
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": {at: kept for at, kept in moments.items() if kept}, "param_groups": groups})
        self._schedule.last_epoch = done - 1
        with quiet(prints=False):  # it warns that the optimizer has not stepped yet
            self._schedule.step()
        self._draws.set_state(tensors["random.draws"])
        torch.set_rng_state(tensors["random.torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)
        self.done = done

    @property
    def largest(self) -> int:
        """Bytes of a state, at most: weights, two moments of each, and weights that were best so far; and the rest."""
        return (
            8 * sum(value.nbytes for value in self._parameters)
            + sum(value.nbytes for value in self._net.buffers()) * 4
            + (1 << 20)
        )

    def digest(self, **facts: object) -> str:
        """SHA-256 of all that decides what the fit comes to: weights, pixels, patches, settings, loss, threads, versions."""
        facts |= {
            **vars(self._settings),
            "loss": str(getattr(self._loss, "facts", "")),
            "device": str(self._device) if self._device.type == "cpu" else torch.cuda.get_device_name(self._device),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "hsiedge": __version__,
        }
        sha = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        sample = self._image.patches(self._at[:64].to(self._device))
        tensors = {**self.state(), "pixels": self._at, "classes": self._classes, "patches": sample}
        for name, value in tensors.items():
            sha.update(name.encode())
            sha.update(value.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()


def hits(net: nn.Module, image: PatchImage, pixels: NDArray[np.intp], targets: NDArray[np.int64]) -> int:
    """Number of flat `pixels` that a net labels as `targets` (class indices) say; leaves it in training mode."""
    device = next(net.parameters()).device
    image, pieces = image.to(device), zip(torch.from_numpy(pixels).split(_JUDGED), torch.from_numpy(targets).split(_JUDGED))
    net.eval()
    with torch.no_grad():
        right = [(net(image.patches(at.to(device))).argmax(1) == truth.to(device)).sum() for at, truth in pieces]
    net.train()
    return sum(map(int, right))


def cross_entropy(settings: FitSettings) -> Loss:
    """Loss of training: cross entropy with labels smoothed by `settings.smoothing`."""
    entropy = nn.CrossEntropyLoss(label_smoothing=settings.smoothing)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        value: Tensor = entropy(net(batch.patches), batch.targets)
        return value

    return loss


def turn(patches: Tensor, symmetry: int) -> Tensor:
    """Turns `patches` `(..., p, p)` by one of the eight symmetries of the square, 0 to 7."""
    rotated = torch.rot90(patches, symmetry % 4, (-2, -1))
    return rotated.flip(-1) if symmetry >= 4 else rotated


@contextmanager
def deterministic() -> Iterator[None]:
    """Restricts PyTorch to algorithms that repeat to the bit, inside the block.

    By default, that also fills with NaN whatever memory PyTorch takes, to show operators that read what they did not write: of
    this package's there are none, and in a step of training it is 195 passes over memory, each a meeting of all threads.
    """
    memory: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]
