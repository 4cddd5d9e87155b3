"""Checkpoint: a trained net with its Card, and what can be made of it; and `train`, which makes one."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsiedge import files, runtimes
from hsiedge.api.model import Model
from hsiedge.api.resolve import SceneLike, check_split, scene_for, scene_of
from hsiedge.arguments import PathLike, number, path_of, whole_number, wrong_type
from hsiedge.card import Card
from hsiedge.errors import ModelError, OptionError, needs_extra
from hsiedge.progress import Progress, silent
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split
from hsiedge.training import sleeping_threads

if TYPE_CHECKING:
    from hsiedge.training.checkpoint import Checkpoint as Trained
    from hsiedge.training.classifier import Classifier
    from hsiedge.training.fit import FitSettings

_LOG = logging.getLogger(__name__)
_ELSEWHERE = {
    "seed": "the split's seed is that of training, too: scene.split(seed=...)",
    "output": "a checkpoint writes itself: checkpoint.save(path)",
    "path": "a checkpoint writes itself: checkpoint.save(path)",
}
"""Where to say what is no option of training."""


class Checkpoint:
    """Trained net with its Card. `train` makes one, `Checkpoint.open` reads one; torch is imported when weights are needed.

    Methods take the checkpoint's own scene and split, unless given them: those that it was made on in this program; of a file
    that was opened, the Card's scene from the catalog, and the Card's split drawn again.

    Attributes:
        card: what the file says of itself.
        path: the file, once it is saved; it then stands wherever a path can.
    """

    def __init__(
        self, card: Card, *, path: Path | None = None, trained: Trained | None = None, own: tuple[Scene, Split] | None = None
    ) -> None:
        self.card, self.path = card, path
        self._trained, self._own = trained, own

    @classmethod
    def open(cls, path: PathLike, *, net: str | None = None) -> Checkpoint:
        """Reads the Card of a safetensors file; its weights are read when they are needed.

        Args:
            net: FILE.py:NAME of the net, where it is your own and was not named before in this program; the file is run.

        Raises:
            ModelError: not a checkpoint.
            CardError: no Card, or one that cannot be read.
            OptionError: `net` cannot be loaded.
        """
        if net is not None:
            from hsiedge import nets

            nets.NETS.name_of(net)
        place = path_of(path, "path")
        card = runtimes.require_card(place)
        if card.kind != "checkpoint":
            raise ModelError(f"{place}: its Card is that of a {card.kind} model, not of a checkpoint")
        return cls(card, path=place)

    @property
    def classifier(self) -> Classifier:
        """The net with its per-band affine, a torch Module in evaluation mode. Raises ModelError, MissingExtraError."""
        return self._loaded().classifier

    def save(self, path: PathLike) -> Checkpoint:
        """Writes weights and Card as .safetensors, whole or not at all; gives the checkpoint back.

        Raises:
            OptionError: another suffix.
            OutputError: it cannot be written.
        """
        place = check_place(path_of(path, "path"))
        trained = self._loaded()
        from hsiedge.training.checkpoint import save_checkpoint

        save_checkpoint(place, trained)
        self.path = place
        return self

    def export(self, path: PathLike, *, scene: SceneLike | None = None) -> Model:
        """Exports the net to ONNX, which takes the sensor's own values; verified against PyTorch on real patches.

        Raises:
            OptionError: another suffix.
            ModelError: the scene is not the checkpoint's.
            CheckError: labels differ, or logits by more than 1e-4 of their range.
            MissingExtraError: torch is not installed.
            OutputError: `path` cannot be written.
        """
        place = path_of(path, "path")
        if place.suffix != ".onnx":
            raise OptionError("a model is written as .onnx", option="path", value=str(place))
        trained = self._loaded()
        with needs_extra("exporting", "train"):
            from hsiedge.graphs.export.checkpoint import export

        scene = scene_for(self.card, scene, self._own[0] if self._own else None)
        export(trained, scene, place, self._digest())
        return Model.of(runtimes.load(place), scene)

    def prune(
        self,
        *,
        method: str = "structured",
        ratio: float = 0.5,
        criterion: str | None = None,
        scope: str | None = None,
        epochs: int = 20,
        scene: SceneLike | None = None,
        split: Split | None = None,
        progress: Progress = silent,
    ) -> Checkpoint:
        """Prunes channels or weights, and fine-tunes the net.

        Args:
            method: "structured" removes whole channels; "magnitude" sets single weights to 0.
            ratio: share of the channels or weights to prune, between 0 and 1.
            criterion: importance of a channel: "l1" (the default), "l2", "taylor" or "batchnorm"; structured only.
            scope: `ratio` is a share of the whole net, "global", or of each layer, "layer"; by default "layer" for
                structured and "global" for magnitude.
            epochs: epochs of fine-tuning.

        Raises:
            OptionError: an unknown method, criterion or scope, a ratio outside 0..1 or so small that no channel goes, or
                "batchnorm" for a net that has none.
            CheckError: the cut net is not the net with the cut channels set to 0.
            ModelError: a scene or split that is not the checkpoint's.
        """
        if method not in ("structured", "magnitude"):
            raise OptionError(f"no method is called {method!r}; there are structured and magnitude")
        if method == "magnitude" and criterion is not None:
            raise OptionError("goes with structured pruning; magnitude prunes by the weights' sizes alone", option="criterion")
        number(ratio, "ratio")
        whole_number(epochs, "epochs")
        trained = self._loaded()
        own = self._scene_and_split(scene, split)
        with needs_extra("pruning", "train"):
            from hsiedge.compression.prune import prune_magnitude, prune_structured
        from hsiedge.training.finetune import TUNING

        settings = replace(TUNING, epochs=epochs)
        if method == "magnitude":
            pruned = prune_magnitude(trained, *own, ratio, scope or "global", settings, self._digest(), progress)
        else:
            pruned = prune_structured(
                trained, *own, ratio, criterion or "l1", scope or "layer", settings, self._digest(), progress
            )
        return Checkpoint(pruned.card, trained=pruned, own=own)

    def distill(
        self,
        student: str = "dscnn",
        *,
        method: str = "logits",
        patch: int | None = None,
        temperature: float = 4.0,
        weight: float = 0.2,
        unlabelled: bool = False,
        epochs: int = 120,
        scene: SceneLike | None = None,
        split: Split | None = None,
        progress: Progress = silent,
        **options: Any,
    ) -> Checkpoint:
        """Trains a student on the labels and on the outputs of this net, its teacher.

        Args:
            student: name of the student's net, or FILE.py:NAME; `options` go to it, as `widths=(20, 32, 32)`.
            method: output of the teacher to learn from: "logits", "features" or "attention".
            patch: side of the student's patch, odd; by default the teacher's.
            temperature: of the softmax of teacher and student, above 0.
            weight: of the teacher's term in the loss, above 0 and at most 1.
            unlabelled: learn from unlabelled pixels, too; the Card then says transductive.
            epochs: passes over the training pixels.

        Raises:
            OptionError: an unknown method or net, a weight outside 0..1, a temperature of 0 or less, or
                maps that cannot be compared.
            ModelError: a scene or split that is not the teacher's.
        """
        if "net" in options:
            raise OptionError("the student's net is called otherwise here", option="net", use={"student": options["net"]})
        _check_numbers(patch, epochs, temperature=temperature, weight=weight)
        trained = self._loaded()
        own = self._scene_and_split(scene, split)
        from hsiedge.compression.distill import distill
        from hsiedge.training.fit import FitSettings

        student = _checked_net(student, own[0], self.card.patch if patch is None else patch, **options)
        settings = FitSettings(epochs=epochs)
        taught = distill(
            trained,
            *own,
            student,
            method,
            patch,
            temperature,
            weight,
            unlabelled,
            settings,
            self._digest(),
            progress,
            **options,
        )
        return Checkpoint(taught.card, trained=taught, own=own)

    def qat(
        self,
        path: PathLike,
        *,
        bits: int = 8,
        epochs: int = 20,
        checkpoint: PathLike | None = None,
        scene: SceneLike | None = None,
        split: Split | None = None,
        progress: Progress = silent,
    ) -> Model:
        """Fine-tunes the net in simulated INT8 arithmetic, beside a control in float; writes the ONNX model that was simulated.

        The Card's last step holds the control's OA: as many steps in float, then quantized (`control_oa`).

        Args:
            path: .onnx to write.
            bits: bits of the weights: 8; or 6, 4, 3, 2, which are only simulated. Activations have 8.
            epochs: passes over the training pixels, for each of the two.
            checkpoint: .safetensors to write the float weights to, which lie on the grid of the integers.

        Raises:
            OptionError: other bits.
            ModelError: a scene or split that is not the checkpoint's, or an operator that is not known.
            CheckError: onnxruntime gives other labels than were simulated.
        """
        whole_number(bits, "bits")
        whole_number(epochs, "epochs")
        trained, place = self._loaded(), path_of(path, "path")
        kept = None if checkpoint is None else check_place(path_of(checkpoint, "checkpoint"), "checkpoint")
        scene, split = own = self._scene_and_split(scene, split)
        files.check_writable(place)
        with needs_extra("quantization-aware training", "train"):
            from hsiedge.compression.qat import SETTINGS, qat

        result = qat(trained, *own, bits, replace(SETTINGS, epochs=epochs), self._digest(), progress)
        files.write_bytes(place, result.model)
        if kept is not None:
            Checkpoint(result.checkpoint.card, trained=result.checkpoint).save(kept)
        return Model.of(runtimes.load(place), scene)

    def __fspath__(self) -> str:
        if self.path is None:
            raise ModelError("this checkpoint is not saved yet, and a file is needed: checkpoint.save(path)")
        return str(self.path)

    def __repr__(self) -> str:
        where = "not saved" if self.path is None else repr(str(self.path))
        net = self.card.net.name if self.card.net is not None else "net"
        oa = f", OA {self.card.accuracy[0].oa:.2f} % of {self.card.accuracy[0].part} pixels" if self.card.accuracy else ""
        return f"Checkpoint({where}, {net} of {self.card.scene.name}{oa})"

    def _repr_html_(self) -> str:
        return self.card._repr_html_()

    def _loaded(self) -> Trained:
        """The weights. Raises MissingExtraError where torch is not installed."""
        if self._trained is None:
            assert self.path is not None
            sleeping_threads()
            with needs_extra("reading weights", "train"):
                from hsiedge.training.checkpoint import load_checkpoint
            self._trained = load_checkpoint(self.path)
        return self._trained

    def _digest(self) -> str | None:
        return None if self.path is None else files.digest(self.path)

    def _scene_and_split(self, scene: SceneLike | None, split: Split | None) -> tuple[Scene, Split]:
        if scene is None and split is None and self._own is not None:
            return self._own
        opened = scene_for(self.card, scene, self._own[0] if self._own else None)
        if split is not None:
            check_split(split)
            return opened, split
        from hsiedge.training.dataset import own_split

        return opened, own_split(self.card, opened)


def check_place(path: Path, option: str = "path", inputs: Sequence[Path] = ()) -> Path:
    """The place of a checkpoint that is yet to be made.

    Raises:
        OptionError: another suffix.
        OutputError: as `files.check_writable`.
    """
    if path.suffix != ".safetensors":
        raise OptionError("a checkpoint is written as .safetensors", option=option, value=str(path))
    files.check_writable(path, inputs)
    return path


def _check_numbers(patch: int | None, epochs: int | None, **numbers: float) -> None:
    """Raises OptionError for arguments that are no numbers."""
    for option, value in (("patch", patch), ("epochs", epochs)):
        if value is not None:
            whole_number(value, option)
    for option, entry in numbers.items():
        number(entry, option)


def _check_options(net: str, build: Callable[..., object], options: Mapping[str, Any]) -> None:
    """Raises OptionError for an option that a net does not take; it names those that it does."""
    parameters = inspect.signature(build).parameters
    own = [option for option in parameters if option not in ("bands", "classes", "patch")]
    unknown = next((option for option in options if option not in own), None)
    if unknown is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    takes = f"{net} takes {' and '.join(own)}" if own else f"{net} takes none of its own"
    raise OptionError(f"no option is called so; {_ELSEWHERE.get(unknown, takes)}", option=unknown)


def _checked_net(net: str, scene: Scene, patch: int | None, **options: Any) -> str:
    """Name of a net; one that is not hsiedge's own is checked before it is trained. Raises OptionError, CheckError."""
    from hsiedge import nets

    if not isinstance(net, str):
        raise wrong_type("net", net, "a net's name")
    name = nets.NETS.name_of(net)
    _check_options(name, nets.spec(name).build, options)
    origin = nets.NETS.origin(name)
    if origin is not None:
        from hsiedge.testing import check_net

        check_net(name, scene.bands, max(2, len(scene.classes)), patch, **options)
        _LOG.info("%s of %s does what a net must do (hsiedge.testing.check_net)", name, origin)
    return name


def train(
    scene: SceneLike,
    split: Split | str | None = None,
    *,
    net: str = "cnn2d",
    patch: int | None = None,
    epochs: int | None = None,
    settings: FitSettings | None = None,
    refit: bool | None = None,
    device: str | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Checkpoint:
    """Trains a net on the training pixels of a split; validation pixels are read once, at the end, and test pixels never.

    Args:
        scene: Scene, name of the catalog, or path.
        split: Split, or the kind of one to draw with its defaults ("random", "blocks", "lists", "flights", "hong", "paoletti");
            left out, as `Scene.split` draws it.
        net: a net's name, or FILE.py:NAME; one that is not hsiedge's own is checked first (`hsiedge.testing.check_net`).
        patch: side of the patch, odd; by default the net's own.
        epochs: passes over the training pixels; by default those of `settings`, or the net's own: 30 of cnn2d with
            its own widths, 600 of mlp, else 60.
        settings: how the net is fitted (`hsiedge.training.fit.FitSettings`): batch, rate, decay, smoothing, balance.
        refit: fit the net again on training and validation pixels together, for the epochs that validation pixels chose; left
            out, true for published splits.
        device: "cpu", "cuda", or "auto": the GPU where there is one; by default that of `training_run`, or the CPU.
        progress: called with the share done, 0 to 1.
        options: the net's own, as `widths=(64, 64, 64)`.

    Raises:
        OptionError: net, patch or options that do not go together, no such device, or an argument of another type.
        SceneError: no such scene, or a patch wider than it.
        SplitError: labels that cannot be divided so, a split of another scene, or a net that sees farther than its guard.
        CheckError: a net of your own that does not do what a net must do.
        MissingExtraError: torch is not installed.
    """
    opened = scene_of(scene)
    drawn = opened.split(split) if split is None or isinstance(split, str) else split
    check_split(drawn)
    _check_numbers(patch, epochs)
    sleeping_threads()
    with needs_extra("training", "train"):
        from hsiedge.nets import spec
        from hsiedge.training import train as training
        from hsiedge.training.fit import FitSettings
    net = _checked_net(net, opened, patch, **options)
    settings = settings or FitSettings(epochs=spec(net).epochs_for(options))
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    trained = training.train(opened, drawn, net, patch, settings, progress, refit=refit, device=device, **options)
    return Checkpoint(trained.card, trained=trained, own=(opened, drawn))
