"""Graphs of a refitted net's weights from before the refit: what validation pixels may still judge."""

from __future__ import annotations

from pathlib import Path

from hsiedge.card import Card
from hsiedge.runtimes import read_card


def place_before(path: Path) -> Path:
    """The file of the weights from before, beside the refitted net's own, patch graph or scene graph."""
    return path.with_stem(f"{path.stem.removesuffix('-scene')}-before")


def graph_before(path: Path, card: Card) -> Path | None:
    """The graph with the weights from before, where export left it beside `path` and both are of one checkpoint; else None."""
    place = place_before(path)
    if not card.refitted or not place.is_file():
        return None
    other = read_card(place)
    if other is None or other.refitted:
        return None
    origins = [next((step.parent for step in entry.lineage if step.step == "export"), None) for entry in (card, other)]
    return place if origins[0] is not None and origins[0] == origins[1] else None
