"""Scenes that arguments of the public functions stand for, and checks of splits and recipes."""

from __future__ import annotations

import os

from hsiedge.arguments import PathLike, wrong_type
from hsiedge.card import Card
from hsiedge.errors import SceneError
from hsiedge.evaluation import check_no_part
from hsiedge.scenes import open as scenes
from hsiedge.scenes.adapt import adapted_scene
from hsiedge.scenes.catalog import CATALOG
from hsiedge.scenes.references import BESIDE, ReferencesLike, beside_for
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

SceneLike = Scene | PathLike
"""Scene, name of the catalog, or path of a cube."""


def scene_of(value: SceneLike, references: ReferencesLike = BESIDE) -> Scene:
    """The scene that an argument names, opened. Raises OptionError for another type, SceneError where there is none."""
    if isinstance(value, Scene):
        return value
    if isinstance(value, (str, os.PathLike)):
        return scenes.open_scene(os.fspath(value), references=references)
    raise wrong_type("scene", value, "a Scene, a name of the catalog, or a path")


def scene_for(
    card: Card, value: SceneLike | None, own: Scene | None, units: str | None = None, *, held_out: bool = False
) -> Scene:
    """The scene that an argument names, as the model with this Card takes it; left out, `own`, or the Card's by its name.

    Args:
        units: as in `hsiedge.scenes.adapt.adapt`.
        held_out: let it be a flight that was held out, without the others.

    Raises:
        ModelError: the scene's bands or units do not fit, or it is some of the model's flights without the others.
        SceneError: it is left out, and the Card's is not in the catalog.
        OptionError: an argument of another type.
    """
    if value is not None:
        scene = scene_of(value, beside_for(card.scene.quantity))
        check_no_part(card, scene, held_out=held_out)
        return adapted_scene(card, scene, units)
    if own is not None:
        return own
    if card.scene.name not in CATALOG:
        raise SceneError(f"made on {card.scene.name}, which is not in the catalog", use={"scene": "SCENE"})
    return scenes.open_scene(card.scene.name)


def check_split(value: object) -> None:
    """Raises OptionError for what is no Split."""
    if not isinstance(value, Split):
        raise wrong_type("split", value, "a Split (scene.split makes one)")


def check_recipe(value: object) -> None:
    """Raises OptionError for what is neither a recipe's name nor a Recipe."""
    from hsiedge.graphs.quantization.recipes import Recipe

    if not isinstance(value, (str, Recipe)):
        raise wrong_type("recipe", value, "a name or a Recipe")
