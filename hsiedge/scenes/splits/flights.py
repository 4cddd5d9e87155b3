"""`flights`: whole flights train, validate or test, by their roles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from hsiedge.errors import OptionError, SplitError
from hsiedge.scenes.cubes import spans_of
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.io.georeference import inverse
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.masks import take_validation
from hsiedge.scenes.splits.split import TEST, TRAIN, VALIDATION, Split, check_any, usable

_PARTS = {"": TRAIN, "train": TRAIN, "validate": VALIDATION, "test": TEST}


def flights_split(scene: Scene, seed: int, roles: Sequence[str]) -> Split:
    """A split of flights by their roles: all labelled pixels of one are in its part; one without a role trains.

    Where no flight validates, a third of the training pixels of each class does. A class that no training flight has is in no
    part; one that only training flights have is learnt, and not tested.

    Args:
        roles: "train", "validate", "test" or "", one a flight.

    Raises:
        OptionError: a scene that is not of several flights, or roles of others than its flights.
        SplitError: another word for a role, no flight tests or none trains, or fewer than two classes train.
    """
    if not scene.flights or len(roles) != len(scene.flights):
        count = len(scene.flights) or "one scene, not several"
        raise OptionError(f"a split by flights has a role for each; {scene.name} is {count}", use={"split": "random"})
    unknown = [role for role in roles if role not in _PARTS]
    if unknown:  # of a Card
        raise SplitError(f"{scene.name}: {unknown[0]!r} is no role of a flight; there are train, validate and test")
    if "test" not in roles or not {"", "train"} & set(roles):
        raise SplitError(f"{scene.name}: one flight at least trains, and one tests", use={"hold_out": "NAME"})
    labels, parts = usable(scene), np.zeros(scene.shape, np.uint8)
    for (top, height, _), role in zip(spans_of(scene.cube), roles):
        parts[top : top + height] = _PARTS[role]
    parts[labels == 0] = 0
    if "validate" not in roles:
        take_validation(labels, tuple(scene.classes), parts, seed)
    trained = {int(label) for label in np.unique(labels[parts == TRAIN])}
    dropped = tuple(label for label in scene.classes if label not in trained)
    parts[np.isin(labels, dropped)] = 0
    if len(trained) < 2:
        raise SplitError(f"{scene.name}: its training flights have {len(trained)} classes, and two are needed")
    check_any(scene, parts, "by its flights")
    _tell_shared_ground(scene, roles)
    return Split("flights", parts, seed, None, None, dropped, roles=tuple(roles))


def _tell_shared_ground(scene: Scene, roles: Sequence[str]) -> None:
    """Warns where labelled pixels of a flight that tests lie on ground that is labelled in another, which does not."""
    for flight, role in zip(scene.flights, roles):
        others = [other for other, theirs in zip(scene.flights, roles) if role == "test" != theirs]
        for other in others:
            share = _shared(flight, other)
            if share:
                warnings.warn(
                    f"{flight.name}: {100 * share:.1f} % of its labelled pixels lie on ground that is labelled in {other.name} "
                    "too, which does not test: its accuracy is not that of unseen ground",
                    SceneWarning,
                    stacklevel=5,
                )


def _shared(flight: Scene, other: Scene) -> float:
    """Share of a flight's labelled pixels whose centres lie on labelled pixels of another; 0 where nobody can tell."""
    here, there = flight.georeference, other.georeference
    if not here or not there or here.transform is None or there.transform is None or here.crs.split() != there.crs.split():
        return 0.0
    rows, columns = np.nonzero(flight.labelled())
    a, b, c, d, e, f = here.transform
    _, _, left, _, _, top = there.transform
    x = a * (columns + 0.5) + b * (rows + 0.5) + (c - left)
    y = d * (columns + 0.5) + e * (rows + 0.5) + (f - top)
    a, b, _, d, e, _ = inverse(there.transform)
    column, row = np.floor(a * x + b * y), np.floor(d * x + e * y)
    height, width = other.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    labelled = other.labelled()[row[inside].astype(np.intp), column[inside].astype(np.intp)] != 0
    return float(labelled.sum() / max(1, len(rows)))
