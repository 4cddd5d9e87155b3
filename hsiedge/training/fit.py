"""The fit loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsiedge.progress import Progress, silent
from hsiedge.training.patch_image import PatchImage


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

A loss that is a Module itself has its own parameters fitted along.
"""

AfterStep = Callable[[float], None]
"""Called after each step with the share of all steps that is done."""


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
) -> None:
    """Fits `net` in place, on its own device, to `targets` (class indices) at flat `pixels`; leaves it in evaluation mode.

    The loss is by default the cross entropy with smoothed labels. `stop` ends the fit after that share of the schedule.

    Patches are flipped and rotated at random (one of the square's eight symmetries a step). On one machine, with one
    number of threads, a run repeats to the bit.
    """
    generator = torch.Generator().manual_seed(seed)  # draws on the CPU, whatever the device
    device = next(net.parameters()).device
    image = image.to(device)
    at, classes = torch.from_numpy(pixels), torch.from_numpy(targets)
    weights = torch.bincount(classes).double()[classes] ** -settings.balance
    steps = max(2, settings.epochs * len(pixels) // settings.batch)
    loss = loss or cross_entropy(settings)
    parameters = [*net.parameters(), *(loss.parameters() if isinstance(loss, nn.Module) else ())]
    optimizer = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps)
    net.train()
    with deterministic():
        for step in range(max(1, round(stop * steps))):
            chosen = torch.multinomial(weights, settings.batch, replacement=True, generator=generator)
            symmetry = int(torch.randint(8, (), generator=generator))
            places, labels = at[chosen].to(device), classes[chosen].to(device)
            optimizer.zero_grad()
            loss(net, Batch(turn(image.patches(places), symmetry), labels, places, symmetry, image)).backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step((step + 1) / steps)
            progress((step + 1) / steps)
    net.eval()


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
    """Restricts PyTorch to algorithms that repeat to the bit, inside the block."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
