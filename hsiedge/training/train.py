"""Training: makes a checkpoint of a scene and a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hsiedge import __version__, nets
from hsiedge.card import AccuracyFacts, Card, ClassFacts, NetFacts, Step, now
from hsiedge.errors import OptionError
from hsiedge.metrics import accuracy, confusion_matrix
from hsiedge.progress import Progress, silent
from hsiedge.scenes.facts import scene_facts
from hsiedge.scenes.patches import batches
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import VALIDATION, Split
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier, macs_per_pixel, predict_logits
from hsiedge.training.conditioning import condition, release
from hsiedge.training.dataset import prepare
from hsiedge.training.fit import FitSettings, Labelled, Loss, fit, hits
from hsiedge.training.patch_image import PatchImage
from hsiedge.training.run import current, torch_device

BEFORE_REFIT = "before the refit"


_STAGES = 10  # of a fit whose epochs validation pixels choose: the last six of its tenths are judged


def train(
    scene: Scene,
    split: Split,
    net: str = nets.DEFAULT,
    patch: int | None = None,
    settings: FitSettings | None = None,
    progress: Progress = silent,
    loss: Loss | None = None,
    *,
    refit: bool | None = None,
    device: str | None = None,
    **options: Any,
) -> Checkpoint:
    """Trains a net of the registry on the training pixels of a split.

    Nothing but training pixels is looked at: not for scaling, not for principal axes, not for stopping. Validation
    pixels are read once, at the end, for the figures in the Card.

    With `refit`, validation pixels choose the epochs: of the weights at the last six tenths of the fit, those that label most
    of them right, the latest of several. The net is then fitted anew, for as many epochs, on training and validation pixels
    together. The checkpoint keeps the weights from before, whose figures on validation pixels the Card has.

    Args:
        net: a name in the registry, or FILE.py:NAME of one's own.
        patch: p, odd; left out, the net's own default.
        settings: left out, the defaults, with as many epochs as the net takes.
        loss: left out, the cross entropy of the labels.
        refit: left out, true for published splits, whose training pixels papers train on, all of them.
        device: "cpu", "cuda", or "auto": the GPU where there is one; left out, that of the run (`run.running`), or the CPU.
            Weights that a GPU fitted are other ones than a CPU's.
        options: the architecture's (widths).

    Raises:
        OptionError: net, patch or options that do not go together, or no such device.
        SceneError: a patch wider than the scene.
        SplitError: a net that sees farther than the split's guard.
    """
    refit = split.published is not None if refit is None else refit
    best = _Epochs() if refit else None
    share = 0.5 if refit else 1.0
    chosen = {"loss": loss, "device": None if device is None else torch_device(device), **options}
    before = train_on(scene, split, net, patch, settings, lambda done: progress(share * done), best=best, **chosen)
    if best is None:
        return before
    stop = best.share

    def tick(done: float) -> None:
        progress(share * (1 + done / stop))

    after = train_on(scene, split, net, patch, settings, tick, validation=True, stop=stop, **chosen)
    return both_weights(before, after)


def train_on(
    scene: Scene,
    split: Split,
    net: str,
    patch: int | None,
    settings: FitSettings | None,
    progress: Progress = silent,
    loss: Loss | None = None,
    *,
    validation: bool = False,
    stop: float = 1.0,
    best: _Epochs | None = None,
    device: torch.device | None = None,
    title: str = "train",
    **options: Any,
) -> Checkpoint:
    """Fits a net once: to training pixels, whose validation pixels give the Card its figures, or to those of both parts.

    Args:
        validation: fit it to validation pixels, too; the Card's lineage then ends in a step "refit", and it has no figures.
        stop: share of the schedule after which the fit ends.
        best: takes the weights, and the share, that validation pixels choose.
        device: left out, that of the run.
        title: of the fit, in the log.
    """
    net = nets.NETS.name_of(net)
    settings = checked(settings or FitSettings(epochs=nets.spec(net).epochs_for(options)))
    patch = nets.spec(net).patch if patch is None else patch
    dataset = prepare(scene, split, patch, refit=validation)
    torch.manual_seed(split.seed)
    module = nets.build(net, scene.bands, len(dataset.titles), patch, **options)
    projected = condition(module, dataset.axes)
    run = current()
    run = run if device is None else replace(run, device=device)
    module.to(run.device)
    image = dataset.image(patch, projected=projected).to(run.device)
    judging = None if validation else dataset.labelled(VALIDATION)
    if best is not None and judging is not None:
        best.watch(module, image, judging)
    fit(
        module, image, dataset.pixels, dataset.targets, settings, split.seed, progress, loss, best, stop,
        validation=judging, title="refit" if validation else title,
    )  # fmt: skip
    if best is not None:
        module.load_state_dict(best.state)
    module.cpu()
    if projected:
        release(module, dataset.axes)
    steps = [Step("train", now(), {**vars(settings), "net": net, **run.facts}, None, versions())]
    if validation:
        facts = {"epochs": round(stop * settings.epochs, 1), "pixels": len(dataset.pixels)}
        steps.append(Step("refit", now(), facts, None, versions()))
    card = Card(
        kind="checkpoint",
        scene=scene_facts(scene, dataset.pixels),
        classes=[ClassFacts(label, title) for label, title in dataset.titles.items()],
        patch=patch,
        created=now(),
        preprocess="per-band affine fitted on training pixels, inside the graph",
        net=NetFacts(
            net, options, nets.parameter_count(module), macs_per_pixel(module, scene.bands, patch), nets.NETS.origin(net)
        ),
        split=split.facts,
        lineage=steps,
    )
    return validated(Checkpoint(Classifier(module, dataset.affine).eval(), card), scene, split)


def both_weights(before: Checkpoint, after: Checkpoint) -> Checkpoint:
    """One checkpoint of the weights before a refit and after it; figures are of those before, and say so."""
    figures = [replace(facts, weights=BEFORE_REFIT) for facts in before.card.accuracy]
    return Checkpoint(after.classifier, replace(after.card, accuracy=figures), before.classifier)


class _Epochs:
    """The choice of epochs: weights at the last tenths of a fit, judged on validation pixels.

    It is called after each step, once it watches a net.

    Attributes:
        share: of the schedule, after which most validation pixels were labelled right; the latest of several.
        state: the weights then.
    """

    def __init__(self) -> None:
        self.share, self.state, self._hits, self._judged = 1.0, dict[str, Tensor](), -1, 0

    def watch(self, net: nn.Module, image: PatchImage, validation: Labelled) -> None:
        """Judges this net from now on."""
        self._net, self._image, self._validation = net, image, validation

    def __call__(self, share: float) -> None:
        stage = int(share * _STAGES + 1e-9)
        if stage <= max(self._judged, _STAGES // 2 - 1):
            return
        self._judged = stage
        right = hits(self._net, self._image, *self._validation)
        if right >= self._hits:
            self.share, self._hits = share, right
            self.state = {name: tensor.clone() for name, tensor in self._net.state_dict().items()}

    def state_dict(self) -> dict[str, Tensor]:
        """The best so far, and how far it was judged."""
        judged = torch.tensor([self.share, self._hits, self._judged], dtype=torch.float64)
        return {"judged": judged, **{f"best.{name}": tensor for name, tensor in self.state.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes it up again."""
        share, right, judged = state["judged"].tolist()
        self.share, self._hits, self._judged = share, int(right), int(judged)
        self.state = {name.removeprefix("best."): tensor for name, tensor in state.items() if name != "judged"}


def versions() -> dict[str, str]:
    """Versions of the packages that made a checkpoint."""
    return {"hsiedge": __version__, "torch": str(torch.__version__), "numpy": np.__version__}


def checked(settings: FitSettings) -> FitSettings:
    """Returns the settings. Raises OptionError where they make no sense."""
    for name, value, enough, least in (
        ("epochs", settings.epochs, settings.epochs >= 1, "1 or more"),
        ("batch", settings.batch, settings.batch >= 2, "2 or more"),
        ("rate", settings.rate, settings.rate > 0, "a number above 0"),
    ):
        if not enough:
            raise OptionError(f"{least} was expected", option=name, value=value)
    return settings


def validated(checkpoint: Checkpoint, scene: Scene, split: Split) -> Checkpoint:
    """The checkpoint with its accuracy on validation pixels in the Card; without any, where these have trained it."""
    card, classifier = checkpoint.card, checkpoint.classifier
    if card.refitted:
        return Checkpoint(classifier, replace(card, accuracy=[]))
    pixels = split.pixels(VALIDATION)
    ids = np.array([entry.id for entry in card.classes])
    predicted = [
        ids[predict_logits(classifier, patches).argmax(1).numpy()] for _, patches in batches(scene.cube, pixels, card.patch)
    ]
    result = accuracy(confusion_matrix(split.labels_on(scene).ravel()[pixels], np.concatenate(predicted), list(ids)))
    facts = AccuracyFacts("validation", result.n, result.oa, result.aa, result.kappa, split.kind, [split.seed])
    return Checkpoint(classifier, replace(card, accuracy=[facts]))
