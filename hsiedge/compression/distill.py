"""Knowledge distillation: a small net learns from the labels and from a trained net's outputs on the same patches."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hsiedge import nets
from hsiedge.card import Step, now
from hsiedge.errors import OptionError
from hsiedge.nets.base import Net
from hsiedge.progress import Progress, silent
from hsiedge.scenes.patches import touches_nodata
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, Split, dilate
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.finetune import on_both_weights, training_set_for
from hsiedge.training.fit import Batch, FitSettings, Loss, turn
from hsiedge.training.run import current
from hsiedge.training.train import train_on, versions

METHODS = ("logits", "features", "attention")
TEMPERATURE = 4.0
WEIGHT = 0.2


@on_both_weights
def distill(
    teacher: Checkpoint,
    scene: Scene,
    split: Split,
    student: str,
    method: str = "logits",
    patch: int | None = None,
    temperature: float = TEMPERATURE,
    weight: float = WEIGHT,
    unlabelled: bool = False,
    settings: FitSettings | None = None,
    parent: str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Checkpoint:
    """Trains a student on the teacher's own split, with (1 - weight) of the labels' loss and `weight` of the teacher's.

    Other arguments, and errors, are those of `hsiedge.Checkpoint.distill`.

    Args:
        method: "logits": cross entropy of the softened outputs, times temperature squared (Hinton, Vinyals and Dean 2015).
            "features": the teacher's last feature map, guessed from the student's by a 1x1 convolution that is thrown away
            afterwards (Romero et al. 2015, FitNets). "attention": where the two look, the energy of their last feature maps
            over space (Zagoruyko and Komodakis 2017).
        unlabelled: each step also takes as many pixels with label 0 under the teacher's soft labels. The Card then says
            transductive. Labelled pixels of the test part are never taken, nor, on a split with a guard, pixels near them.
        parent: sha256 of the teacher's file.
    """
    if method not in METHODS:
        raise OptionError(f"no method is called {method!r}; there are {', '.join(METHODS)}")
    if not (0 < weight <= 1 and temperature > 0):
        raise OptionError(
            f"weight {weight:g}, temperature {temperature:g}: expected are a weight in (0, 1] and a temperature above 0"
        )
    if unlabelled and method != "logits":
        raise OptionError(
            "unlabelled pixels can only be learned from the teacher's logits", option="unlabelled", use={"method": "logits"}
        )
    settings = settings or FitSettings()
    student = nets.NETS.name_of(student)
    if patch is None and teacher.card.patch >= nets.spec(student).min_patch:
        patch = teacher.card.patch
    guide = _Guide(teacher, scene, split)
    reach = patch or nets.spec(student).patch
    extra = free_pixels(scene, split, max(guide.patch, reach)) if unlabelled else None
    if method == "logits":
        loss: _Distillation = _Softened(guide, weight, settings.smoothing, temperature, extra, split.seed)
    else:
        ours = _empty_map(nets.build(student, scene.bands, len(teacher.card.classes), reach, **options), scene.bands, reach)
        theirs = _empty_map(guide.net, scene.bands, guide.patch)
        loss = _between_maps(method, guide, weight, settings.smoothing, ours, theirs)
    trained = train_on(
        scene, split, student, patch, settings, progress, loss, validation=teacher.card.refitted, title="distill", **options
    )
    facts: dict[str, Any] = {
        "teacher": teacher.card.net.name if teacher.card.net else "net",
        "student": student,
        "method": method,
        "weight": weight,
    }
    if method == "logits":
        facts["temperature"] = temperature
    if extra is not None:
        facts |= {"transductive": True, "unlabelled": len(extra)}
    step = Step("distill", now(), {**facts, **vars(settings), **current().facts}, parent, versions())
    return Checkpoint(trained.classifier, replace(trained.card, lineage=[*teacher.card.lineage, step]))


def softened(teacher: Checkpoint, scene: Scene, split: Split, smoothing: float) -> Loss:
    """Loss of training on labels and on a teacher's soft outputs on the same patches, with the defaults of `distill`."""
    return _Softened(_Guide(teacher, scene, split), WEIGHT, smoothing, TEMPERATURE, None, split.seed)


def free_pixels(scene: Scene, split: Split, patch: int) -> NDArray[np.intp]:
    """Flat indices of pixels with label 0, without nodata in their patch and, where the split has a guard, outside of it.

    Raises:
        OptionError: there are none.
    """
    free = (scene.labelled() == 0) & (split.labels_on(scene) == 0)
    if split.guard is not None:
        free &= ~dilate(split.parts == TEST, split.guard)
    pixels = np.flatnonzero(free.ravel())
    pixels = pixels[~touches_nodata(scene, pixels, patch)]
    if not len(pixels):
        raise OptionError(f"{scene.name} has no unlabelled pixels that could be learned from")
    return pixels


class _Guide:
    """The teacher, and the scene standardized as the teacher expects it."""

    def __init__(self, teacher: Checkpoint, scene: Scene, split: Split) -> None:
        device, net = current().device, teacher.classifier.net.eval()
        self.net = net if device.type == "cpu" else copy.deepcopy(net).to(device)
        self.patch = teacher.card.patch
        self._image = training_set_for(teacher, scene, split).image(self.patch).to(device)

    @property
    def sha256(self) -> str:
        """SHA-256 of its weights."""
        values = (tensor.cpu().numpy().tobytes() for tensor in self.net.state_dict().values())
        return hashlib.sha256(b"".join(values)).hexdigest()

    def features(self, pixels: Tensor, symmetry: int) -> Tensor:
        """The teacher's feature map `(n, channels, h, w)` around flat `pixels`."""
        with torch.no_grad():
            return self.net.features(turn(self._image.patches(pixels), symmetry))

    def logits(self, pixels: Tensor, symmetry: int) -> Tensor:
        """The teacher's logits `(n, classes)` around flat `pixels`."""
        with torch.no_grad():
            return self.net.head(self.features(pixels, symmetry))


def _empty_map(net: Net, bands: int, patch: int) -> Tensor:
    with torch.no_grad():
        device = next(net.parameters()).device
        return _as_map(net.eval().features(torch.zeros(1, bands, patch, patch, device=device)))


def _as_map(features: Tensor) -> Tensor:
    """Feature map `(n, channels, h, w)`: depths of a 3-D map as channels, features without a place as a map of one pixel."""
    return features[:, :, None, None] if features.ndim == 2 else features.flatten(1, -3)


def _between_maps(method: str, guide: _Guide, weight: float, smoothing: float, ours: Tensor, theirs: Tensor) -> _Distillation:
    if method == "features":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return _Guessed(guide, weight, smoothing, ours.shape[1], theirs.shape[1])
    if min(ours.shape[-1], theirs.shape[-1]) == 1:
        raise OptionError("attention needs feature maps of more than one pixel")
    return _Attended(guide, weight, smoothing)


class _Distillation(nn.Module):
    """Loss: (1 - weight) of the labels' cross entropy, and `weight` of a distance to the teacher."""

    def __init__(self, guide: _Guide, weight: float, smoothing: float) -> None:
        super().__init__()
        self._guide, self._weight, self._smoothing = guide, weight, smoothing

    @property
    def facts(self) -> dict[str, Any]:
        """Facts that tell it from another loss, beside its parameters."""
        return {"kind": type(self).__name__, "teacher": self._guide.sha256, "weight": self._weight}

    def forward(self, net: Net, batch: Batch) -> Tensor:
        features = net.features(batch.patches)
        logits = net.head(features)
        own = functional.cross_entropy(logits, batch.targets, label_smoothing=self._smoothing)
        return (1 - self._weight) * own + self._weight * self.distance(net, batch, features, logits)

    def distance(self, net: Net, batch: Batch, features: Tensor, logits: Tensor) -> Tensor:
        raise NotImplementedError


class _Softened(_Distillation):
    """Distance of soft outputs: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2."""

    def __init__(
        self, guide: _Guide, weight: float, smoothing: float, temperature: float, extra: NDArray[np.intp] | None, seed: int
    ) -> None:
        super().__init__(guide, weight, smoothing)
        self._temperature = temperature
        self._extra = None if extra is None else torch.from_numpy(extra)
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def facts(self) -> dict[str, Any]:
        extra = None if self._extra is None else hashlib.sha256(self._extra.numpy().tobytes()).hexdigest()
        return {**super().facts, "temperature": self._temperature, "unlabelled": extra}

    def get_extra_state(self) -> Tensor:
        """State of what draws the unlabelled pixels."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Takes it up again."""
        self._generator.set_state(state)

    def distance(self, net: Net, batch: Batch, features: Tensor, logits: Tensor) -> Tensor:
        pixels = batch.pixels
        if self._extra is not None:
            drawn = torch.randint(len(self._extra), (len(pixels),), generator=self._generator)
            free = self._extra[drawn].to(pixels.device)
            logits = torch.cat([logits, net(turn(batch.image.patches(free), batch.symmetry))])
            pixels = torch.cat([pixels, free])
        ours = functional.log_softmax(logits / self._temperature, 1)
        theirs = functional.log_softmax(self._guide.logits(pixels, batch.symmetry) / self._temperature, 1)
        return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * self._temperature**2


class _Guessed(_Distillation):
    """Distance of last feature maps: Romero et al. 2015, "FitNets: hints for thin deep nets", equation 3.

    Both maps are averaged down to the smaller one's size; the distance is in units of the teacher's own variance.
    """

    def __init__(self, guide: _Guide, weight: float, smoothing: float, ours: int, theirs: int) -> None:
        super().__init__(guide, weight, smoothing)
        self.guess = nn.Conv2d(ours, theirs, 1)

    def distance(self, net: Net, batch: Batch, features: Tensor, logits: Tensor) -> Tensor:
        ours, theirs = _alike(features, self._guide.features(batch.pixels, batch.symmetry))
        return functional.mse_loss(self.guess(ours), theirs) / theirs.var().clamp_min(1e-12)


class _Attended(_Distillation):
    """Distance of attention: Zagoruyko and Komodakis 2017, "Paying more attention to attention", equation 2, with p = 2."""

    def distance(self, net: Net, batch: Batch, features: Tensor, logits: Tensor) -> Tensor:
        ours, theirs = _alike(features, self._guide.features(batch.pixels, batch.symmetry))
        return (_attention(ours) - _attention(theirs)).pow(2).sum(1).mean()


def _attention(features: Tensor) -> Tensor:
    """Energy of a feature map over space, `(n, h * w)`, of length 1."""
    return functional.normalize(features.pow(2).mean(1).flatten(1), dim=1)


def _alike(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Both feature maps at the size of the smaller one."""
    ours, theirs = _as_map(ours), _as_map(theirs)
    size = min(ours.shape[-1], theirs.shape[-1])
    return functional.adaptive_avg_pool2d(ours, size), functional.adaptive_avg_pool2d(theirs, size)
