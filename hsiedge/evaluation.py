"""Evaluation: the only place where test pixels are read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import notebook
from hsiedge.card import Card, SplitFacts
from hsiedge.errors import ModelError, SplitError
from hsiedge.metrics import Accuracy, accuracy, confusion_matrix
from hsiedge.scenes import splits
from hsiedge.scenes.catalog import CATALOG
from hsiedge.scenes.cubes import spans_of
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.scene import UNNAMED, Scene
from hsiedge.scenes.splits import Split

_LOG = logging.getLogger(__name__)

Predict = Callable[[Scene, NDArray[np.intp]], NDArray[np.uint16]]
"""Label ids `(n,)` at flat pixel indices `(n,)` of a scene; `Model.predict` is one."""


@dataclass(frozen=True)
class FlightAccuracy:
    """Accuracy on the counted pixels of one of several flights.

    Attributes:
        role: of the flight in the split: "test" where it was held out as a whole, or "".
    """

    name: str
    role: str
    accuracy: Accuracy


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of a model on a scene.

    Attributes:
        split: None where all labelled pixels were counted, on a scene that the model never saw.
        classes: label id -> name, in the order of the confusion matrix.
        flights: the accuracy on each of several flights that has pixels to count; empty for one scene.
    """

    scene: str
    split: SplitFacts | None
    classes: dict[int, str]
    accuracy: Accuracy
    flights: tuple[FlightAccuracy, ...] = ()

    @property
    def oa(self) -> float:
        """Overall accuracy, percent."""
        return self.accuracy.oa

    @property
    def aa(self) -> float:
        """Average accuracy: the mean of the classes' producer's accuracies, percent."""
        return self.accuracy.aa

    @property
    def kappa(self) -> float:
        """Cohen's kappa, times 100."""
        return self.accuracy.kappa

    @property
    def n(self) -> int:
        """Pixels counted."""
        return self.accuracy.n

    def __repr__(self) -> str:
        where = f"test pixels of {self.scene}" if self.split is not None else f"labelled pixels of {self.scene}"
        return f"Evaluation(OA {self.oa:.2f} %, AA {self.aa:.2f} %, kappa {self.kappa:.2f} of {self.n} {where})"

    def _repr_html_(self) -> str:
        per_class = zip(self.classes.items(), self.accuracy.per_class)
        rows = [
            {"id": label, "class": title, "producer's %": entry.pa, "user's %": entry.ua, "F1 %": entry.f1, "pixels": entry.n}
            for (label, title), entry in per_class
        ]
        return notebook.table_html(rows, repr(self))

    def to_json(self, model: str) -> dict[str, Any]:
        """The documented JSON, schema 1; figures in percent, None where there was nothing to count."""
        result, split = self.accuracy, self.split
        titles = list(self.classes.values())
        per_class = {
            title if titles.count(title) == 1 else f"{title} ({label})": {
                "id": label,
                "pa": _figure(entry.pa),
                "ua": _figure(entry.ua),
                "f1": _figure(entry.f1),
                "n": entry.n,
            }
            for (label, title), entry in zip(self.classes.items(), result.per_class)
        }
        return {
            "schema": 1,
            "scene": self.scene,
            "model": model,
            "split": {
                "kind": split.kind if split else "all",
                "fraction": split.fraction if split else None,
                "seed": split.seed if split else None,
                "guard": split.guard if split else None,
                "digest": split.digest if split else None,
                **({"fold": split.fold, "folds": split.folds} if split and split.folds else {}),
            },
            "n": result.n,
            "oa": _figure(result.oa),
            "oa_interval": [_figure(value) for value in result.oa_interval],
            "aa": _figure(result.aa),
            "kappa": _figure(result.kappa),
            "per_class": per_class,
            "confusion": result.confusion.tolist(),
            **({"flights": [_flight_json(entry) for entry in self.flights]} if self.flights else {}),
        }


def evaluate(predict: Predict, scene: Scene, split: Split | None, *, names: Mapping[int, str] | None = None) -> Evaluation:
    """Counts a split's test pixels; with no split, all labelled pixels.

    A label that only the model knows, and gives, is wrong wherever it stands: it has a column, and no pixels.

    Args:
        names: those of the model's classes by id, for classes that the scene does not know or does not name.

    Raises:
        SceneError: the scene has no labels.
        SplitError: a split of another scene.
    """
    if split is not None:
        split.check_scene(scene)
    labels = (scene.labelled() if split is None else split.labels_on(scene)).ravel()
    pixels = np.flatnonzero(labels) if split is None else split.pixels(splits.TEST)
    dropped = split.dropped if split else ()
    classes = {label: title for label, title in scene.classes.items() if label not in dropped}
    _LOG.info("%s: counting %d %s pixels", scene.name, len(pixels), "labelled" if split is None else "test")
    predicted = predict(scene, pixels)
    for label in map(int, np.unique(predicted)):
        classes.setdefault(label, scene.classes.get(label, f"{UNNAMED} {label}"))
    for label, title in classes.items():
        if title == f"{UNNAMED} {label}":
            classes[label] = (names or {}).get(label, title)
    confusion = confusion_matrix(labels[pixels], predicted, list(classes))
    flights = tuple(_by_flight(scene, split, labels, pixels, predicted, list(classes)))
    return Evaluation(scene.name, split.facts if split else None, classes, accuracy(confusion), flights)


def _by_flight(
    scene: Scene,
    split: Split | None,
    labels: NDArray[np.uint16],
    pixels: NDArray[np.intp],
    predicted: NDArray[np.uint16],
    ids: list[int],
) -> Iterator[FlightAccuracy]:
    roles = split.roles if split is not None and split.roles else ("",) * len(scene.flights)
    rows = pixels // scene.shape[1]
    for flight, role, (top, height, _) in zip(scene.flights, roles, spans_of(scene.cube)):
        inside = (rows >= top) & (rows < top + height)
        if inside.any():
            confusion = confusion_matrix(labels[pixels[inside]], predicted[inside], ids)
            yield FlightAccuracy(flight.name, role, accuracy(confusion))


def _flight_json(entry: FlightAccuracy) -> dict[str, Any]:
    result = entry.accuracy
    figures = {"oa": result.oa, "aa": result.aa, "kappa": result.kappa}
    return {
        "name": entry.name,
        "role": entry.role,
        "n": result.n,
        **{name: _figure(value) for name, value in figures.items()},
    }


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of a whole deal of folds: their confusion matrices added up, class by class, each pixel tested once.

    Raises:
        SplitError: they are not all folds of one deal, each of them once.
    """
    facts = [entry.split for entry in evaluations if entry.split is not None and entry.split.folds is not None]
    deals = {(split.folds, split.seed, split.fraction, split.guard) for split in facts} if facts else set()
    scenes = {entry.scene for entry in evaluations}
    folds = sorted(split.fold or 0 for split in facts)
    if (
        len(facts) < len(evaluations)
        or len(deals) != 1
        or len(scenes) != 1
        or folds != list(range(1, (facts[0].folds or 0) + 1))
    ):
        raise SplitError("several models are evaluated together as the folds of one deal of blocks, each of them once")
    ids = sorted({label for entry in evaluations for label in entry.classes})
    confusion = np.zeros((len(ids), len(ids)), np.int64)
    for entry in evaluations:
        places = np.searchsorted(ids, list(entry.classes))
        confusion[np.ix_(places, places)] += entry.accuracy.confusion
    titles = {label: title for entry in evaluations for label, title in entry.classes.items()}
    counts = {part: sum(getattr(split, part) for split in facts) for part in ("train", "validation", "test")}
    never = sorted(set.intersection(*(set(split.dropped) for split in facts)))
    whole = replace(facts[0], fold=0, dropped=never, digest="", **counts)
    return Evaluation(evaluations[0].scene, whole, {label: titles[label] for label in ids}, accuracy(confusion))


def split_for(card: Card, scene: Scene, masks: Split | None = None) -> Split | None:
    """The split on which a model with this Card may be judged on this scene; None if it never saw the scene.

    Raises:
        ModelError: the scene carries the name of the model's own, but is another cube.
        SplitError: it is the model's own cube, and the labels or masks give another split than the Card's.
    """
    if card.scene.sha256 == scene.sha256:
        if card.split is None:
            return None
        split = splits.redraw(scene, card.split, masks)
        split.check_radius(card.radius)
        return split
    check_no_part(card, scene, held_out=True)
    if card.scene.name == scene.name and scene.name in CATALOG:  # other names are only those of files
        raise ModelError(
            f"this {scene.name} is not the cube that the model was trained on (sha256 {scene.sha256[:12]}..., "
            f"in the Card {card.scene.sha256[:12]}...); a split of one says nothing of the other"
        )
    return None


def joined_by_name(card: Card, scene: Scene) -> Scene:
    """The scene with its classes numbered as in a model's Card, joined by name, as flights are.

    A scene whose ids mean the same already is given back, as is the model's own, and one that does not name all its classes.
    Where two classes of the model share a name, no scene is joined. Pixels of classes that the model does not know lose their
    label, with a warning.

    Raises:
        ModelError: the model knows none of the classes.
    """
    ids, names = {entry.name: entry.id for entry in card.classes}, card.class_names
    same = all(ids.get(title, label) == label and names.get(label, title) == title for label, title in scene.classes.items())
    named = not any(f"{UNNAMED} {label}" == title for label, title in [*scene.classes.items(), *names.items()])
    if same or not named or len(ids) < len(names) or scene.labels is None or card.scene.sha256 == scene.sha256:
        return scene
    table = np.zeros(max(scene.classes) + 1, np.uint16)
    for label, title in scene.classes.items():
        table[label] = ids.get(title, 0)
    labels = table[scene.labelled()]
    lost = int(np.count_nonzero(scene.labelled()) - np.count_nonzero(labels))
    unknown = ", ".join(title for title in scene.titles if title not in ids)
    if not labels.any():
        raise ModelError(f"the model knows none of the classes of {scene.name} ({unknown}), only {', '.join(ids)}")
    if lost:
        warnings.warn(
            f"{scene.name}: {lost} pixels of classes that the model does not know do not count: {unknown}", SceneWarning, 2
        )
    classes = {label: title for title, label in sorted(ids.items(), key=lambda entry: entry[1]) if title in scene.titles}
    _LOG.info("%s: its classes are joined with the model's by name", scene.name)
    return replace(scene, labels=labels, classes=classes)


def check_no_part(card: Card, scene: Scene, *, held_out: bool = False) -> None:
    """Raises ModelError for a scene that holds some of a model's flights, but not all: which pixels trained is not known.

    Args:
        held_out: let flights be that were held out as a whole: all of each tests.
    """
    if not card.scene.flights or scene.sha256 == card.scene.sha256:
        return
    roles = card.split.roles if card.split is not None and card.split.roles else [""] * len(card.scene.flights)
    seen = {facts.sha256 for facts, role in zip(card.scene.flights, roles) if not (held_out and role == "test")}
    again = [flight.name for flight in scene.flights or (scene,) if flight.sha256 in seen]
    if again:
        names = ", ".join(facts.name for facts in card.scene.flights)
        raise ModelError(
            f"{again[0]} is one of the flights that the model was made of ({names}); give all of them, in that order"
        )


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
