"""LabelMap: what a model makes of a cube, ready to be saved, shown or counted."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import notebook
from hsiedge.api.resolve import SceneLike
from hsiedge.arguments import PathLike, path_of, wrong_type
from hsiedge.errors import OptionError
from hsiedge.mapping.palette import paint
from hsiedge.mapping.stream import ClassificationStats, ClassifyOptions, Strip, classify_rows
from hsiedge.mapping.writers import MapFacts, check_places, check_suffix, maps
from hsiedge.progress import Progress
from hsiedge.runtimes import Model
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.reader import open_cube
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.references import References, ReferencesLike, with_references
from hsiedge.scenes.scene import Scene


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Map of a cube; `numpy.asarray` gives its labels.

    Attributes:
        labels: uint16 `(height, width)` of label ids, 0 where there is no data, or no class is likely enough.
        classes: label id -> name.
        stats: seconds, and pixels without data, rejected or out of the calibrated range.
        probabilities: float32 `(classes, height, width)`, if they were asked for.
        georeference: the cube's; None where its file says nothing.
        source: what the cube was read from.
    """

    labels: NDArray[np.uint16]
    classes: dict[int, str]
    stats: ClassificationStats
    probabilities: NDArray[np.float32] | None
    georeference: Georeference | None
    source: Path

    def save(self, path: PathLike, *, probabilities: PathLike | None = None) -> LabelMap:
        """Writes the labels as .tif, .hdr (ENVI), .png or .npy, whole or not at all; gives the map back.

        Args:
            probabilities: .tif or .npy to write those to: a band for each class, or `(height, width, classes)`, the classes
                last, unlike in `LabelMap.probabilities`.

        Raises:
            OptionError: a suffix of no known format, or probabilities that were not kept.
            OutputError: it cannot be written, or the cube itself lies there.
            MissingExtraError: the format's package is not installed.
        """
        place, likely = path_of(path, "path"), None if probabilities is None else path_of(probabilities, "probabilities")
        check_suffix(place)
        if likely is not None:
            if self.probabilities is None:
                raise OptionError("they were not kept: classify with probabilities=True", option="probabilities")
            check_suffix(likely, probabilities=True)
        check_places([place] if likely is None else [place, likely], [self.source])
        height, width = self.labels.shape
        with maps([place], likely, MapFacts((height, width), self.classes, self.georeference)) as take:
            take(Strip(self.labels, self.probabilities))
        return self

    def counts(self) -> dict[str, int]:
        """Pixels of each class, by its name; "unknown" where the label is 0."""
        pixels = np.bincount(self.labels.ravel(), minlength=max(self.classes, default=0) + 1)
        return {"unknown": int(pixels[0])} | {title: int(pixels[label]) for label, title in self.classes.items()}

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.labels, dtype, copy=None if copy is None else copy)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"LabelMap({height} x {width} pixels of {self.source.name}, {len(self.classes)} classes)"

    def _repr_html_(self) -> str:
        step = notebook.thumbnail_step(self.labels.shape)
        picture = notebook.image_html(paint(self.labels[::step, ::step], self.classes), self.source.name)
        rows = [{"class": title, "pixels": count} for title, count in self.counts().items() if count]
        return picture + notebook.table_html(rows, repr(self))


def classified(
    model: Model,
    cube: SceneLike | NDArray[Any],
    reject: float,
    probabilities: bool,
    memory: int,
    cube_key: str | None,
    units: str | None,
    references: ReferencesLike,
    progress: Progress,
) -> LabelMap:
    """The map of a cube; see `Model.classify`."""
    options = ClassifyOptions(reject, probabilities, units)
    classes = model.known.class_names
    strips: list[Strip] = []
    with _rows(cube, cube_key) as source:
        if isinstance(references, References) or isinstance(cube, (str, os.PathLike)):
            source = with_references(source, references, model.known.scene.quantity or "counts")
        stats = classify_rows(model, source, strips.append, options, memory, progress)
        likely = np.concatenate([strip.probabilities for strip in strips], 1) if probabilities else None
        labels = np.concatenate([strip.labels for strip in strips])
        return LabelMap(labels, classes, stats, likely, source.georeference, source.path)


def _rows(cube: SceneLike | NDArray[Any], key: str | None) -> AbstractContextManager[Cube]:
    """The rows of whatever stands for a cube."""
    if isinstance(cube, np.ndarray):
        return nullcontext(Cube.of_array(cube))
    if isinstance(cube, Scene):
        cube.check_single("a map is made of one flight, open_cube or open_scene of its file")
        return nullcontext(_named(cube))
    if not isinstance(cube, (str, os.PathLike)):
        raise wrong_type("cube", cube, "a path, a Scene or an array")
    path = Path(cube)
    if path.suffix or path.exists():
        return open_cube(path, key)
    return nullcontext(_named(open_scene(path.name)))


def _named(scene: Scene) -> Cube:
    """The cube of a scene under its file's name, or its own where it is of no file: a folder of the catalog says nothing."""
    cube = scene.as_cube()
    return cube if cube.path.is_file() else replace(cube, path=Path(scene.name))
