"""Tables of scenes, in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from hsiedge.report.terminal.tables import add_numbers, plain_table
from hsiedge.scenes import splits
from hsiedge.scenes.catalog import CatalogEntry
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split
from hsiedge.words import LONGEST_LINE, shown


def catalog_table(places: dict[CatalogEntry, Path | None]) -> Table:
    """Table of the catalog; `places` has each scene's path on this machine, None where it has none."""
    table = plain_table()
    table.add_column("name", no_wrap=True)
    table.add_column("scene, sensor", overflow="fold")
    add_numbers(table, "pixels", "bands", "classes")
    table.add_column("here", no_wrap=True)
    for entry, place in places.items():
        height, width, bands = entry.shape
        here = place.name if place else "no"
        sizes = (f"{height} x {width}", str(bands), str(len(entry.classes)))
        table.add_row(entry.name, f"{entry.title}, {entry.sensor}", *sizes, here)
    table.caption = "download one with: hsiedge scenes fetch NAME"
    return table


def scene_tables(scene: Scene, drawn: dict[str, Split | str]) -> list[RenderableType]:
    """Tables of a scene: facts, then classes with the pixels that each split gives to training, validation and test.

    `drawn`: by kind of split, the split, or why there is none.
    """
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    official = {True: "equal to the official file", False: "NOT the official file", None: "nothing known to compare with"}
    rows = {
        "scene": shown(scene.name),
        "from": scene.source,
        "size": f"{scene.shape[0]} x {scene.shape[1]} pixels, {scene.bands} bands, {scene.cube.dtype}",
        "counts": _counts(scene),
        "wavelengths": f"{scene.wavelengths[0]:.0f} to {scene.wavelengths[-1]:.0f} nm" if scene.wavelengths else "unknown",
        "published": official[scene.official],
        "sha256": scene.sha256,
    }
    if scene.georeference is not None:
        rows["lies at"] = scene.georeference.describe()
    if scene.left_out:
        rows["bands left out"] = f"{len(scene.left_out)} of {len(scene.left_out) + scene.bands}, by the bad-band list"
    for name, text in rows.items():
        facts.add_row(name, shown(text, LONGEST_LINE))
    if scene.labels is None:
        return [facts, "No labels."]
    return [facts, _class_table(scene, drawn), *_notes(scene, drawn)]


def _counts(scene: Scene) -> str:
    """Range of the counts, and how much is nodata."""
    scale = "" if scene.scale is None else f"stored, with a scale of {scene.scale[0]:g}"
    meaning = "".join(f", {text}" for text in (scene.quantity, scene.units, scale) if text)
    kept = (rows[~scene.empty[first : first + len(rows)]] for first, rows in scene.blocks())
    limits = [(values.min(), values.max()) for values in kept if values.size]
    lost = f"; {100 * scene.empty.mean():.1f} % of the pixels hold no data" if scene.empty.any() else ""
    return f"{min(low for low, _ in limits)} to {max(high for _, high in limits)}{meaning}{lost}"


def _class_table(scene: Scene, drawn: dict[str, Split | str]) -> Table:
    labels = scene.labelled()
    by_kind = {kind: split for kind, split in drawn.items() if isinstance(split, Split)}
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("id", justify="right")
    table.add_column("class", footer="all")
    table.add_column("pixels", justify="right", footer=str(int((labels != 0).sum())))
    for kind, split in by_kind.items():
        facts = split.facts
        table.add_column(f"{kind}: train/val/test", justify="right", footer=f"{facts.train}/{facts.validation}/{facts.test}")
    for label, title in scene.classes.items():
        inside = labels == label
        parts = ["/".join(str(int((split.parts[inside] == part).sum())) for part in (1, 2, 3)) for split in by_kind.values()]
        cells = ["left out" if label in split.dropped else text for split, text in zip(by_kind.values(), parts)]
        table.add_row(str(label), shown(title), str(int(inside.sum())), *cells)
    return table


def _notes(scene: Scene, drawn: dict[str, Split | str]) -> list[str]:
    notes = [f"{kind}: {reason}" for kind, reason in drawn.items() if isinstance(reason, str)]
    blocks = drawn.get("blocks")
    if isinstance(blocks, Split):
        kept = len(scene.classes) - len(blocks.dropped)
        notes.append(
            f"blocks (seed {blocks.seed}) keeps {kept} of {len(scene.classes)} classes; test pixels lie more than "
            f"{blocks.guard} pixels from all others, so patches up to {2 * (blocks.guard or 0) + 1} may be used"
        )
    for kind in ("random", "lists"):
        split = drawn.get(kind)
        if isinstance(split, Split):
            share = 100 * splits.leaked(split, 6)
            notes.append(f"{kind} leaks: {share:.1f} % of its test pixels lie within 6 pixels of a training pixel")
    return notes
