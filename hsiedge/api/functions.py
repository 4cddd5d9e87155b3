"""Functions that stand for a method of a model that need not be opened first: evaluate, classify and quantize."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hsiedge import evaluation, mapping
from hsiedge.api.model import model_of
from hsiedge.api.resolve import SceneLike, check_split, scene_for, scene_of
from hsiedge.arguments import PathLike, wrong_type
from hsiedge.card import Card
from hsiedge.errors import OptionError
from hsiedge.evaluation import Evaluation, Predict
from hsiedge.progress import Progress, silent
from hsiedge.scenes.splits import Split


def evaluate(
    model: PathLike | Predict,
    scene: SceneLike | None = None,
    split: Split | Literal["own"] | None = "own",
    *,
    progress: Progress = silent,
) -> Evaluation:
    """Measures the accuracy of a model on the test pixels of a split.

    Args:
        model: Model, its file, or a function `(scene, flat pixel indices) -> label ids`.
        scene: by default the model's own.
        split: by default the one in the model's Card, or all labelled pixels of a scene it was not trained on; None: all
            labelled pixels.

    Raises:
        ModelError: the scene does not fit the model.
        SplitError: the scene's labels are not those of the model's split.
        SceneError: the scene has no labels, or is not found.
        OptionError: a function without scene or split, or an argument of another type.
    """
    if not isinstance(model, (str, os.PathLike)):
        if not callable(model):
            raise wrong_type("model", model, "a path, a Model or a function")
        if scene is None or split == "own":
            raise OptionError("a function has neither scene nor split of its own", use={"scene": "", "split": ""})
        return evaluation.evaluate(model, scene_of(scene), _given(split))
    opened = model_of(model)
    if split == "own":
        return opened.evaluate(scene, progress=progress)
    where = scene_for(opened.known, scene, opened.own_scene)
    names = opened.known.class_names
    return evaluation.evaluate(lambda cube, pixels: opened.predict(cube, pixels, progress), where, _given(split), names=names)


def classify(
    model: PathLike, cube: SceneLike | NDArray[Any], *, nodata: float | None = None, progress: Progress = silent
) -> NDArray[np.uint16]:
    """Label map `(height, width)` of a cube; `Model.classify` gives a LabelMap, which can be saved.

    Args:
        model: Model, or its file.
        cube: array `(height, width, bands)` in the stored dtype, Scene, name of the catalog, or file.
        nodata: of an array, the value of pixels without data, which get label 0.

    Raises:
        ModelError: the cube does not fit the model.
        SceneError: no cube, or the patch is wider than it.
        OptionError: an argument of another type.
    """
    if isinstance(cube, np.ndarray):
        return mapping.classify(model_of(model), cube, progress, nodata)
    return model_of(model).classify(cube, progress=progress).labels


def quantize(model: PathLike, scene: SceneLike | None, output: PathLike, **options: Any) -> Card:
    """Quantizes a float model, and gives the Card in the written file; options and errors are those of `Model.quantize`."""
    return model_of(model).quantize(scene, output, **options).known


def _given(split: Split | str | None) -> Split | None:
    if split is not None:
        check_split(split)
    return split  # type: ignore[return-value]
