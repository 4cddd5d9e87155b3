"""Scenes, splits and recipes that arguments of the public functions stand for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hsiedge.arguments import PathLike, wrong_type
from hsiedge.card import Card
from hsiedge.errors import OptionError, SceneError
from hsiedge.scenes import scene as scenes
from hsiedge.scenes.catalog import CATALOG
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import Split

if TYPE_CHECKING:
    from hsiedge.graphs.quantization.recipes import Recipe

SceneLike = Scene | PathLike
"""Scene, name of the catalog, or path of a cube."""


def scene_of(value: SceneLike) -> Scene:
    """The scene that an argument names, opened. Raises OptionError for another type, SceneError where there is none."""
    if isinstance(value, Scene):
        return value
    if isinstance(value, (str, os.PathLike)):
        return scenes.open_scene(os.fspath(value))
    raise wrong_type("scene", value, "a Scene, a name of the catalog, or a path")


def scene_for(card: Card, value: SceneLike | None, own: Scene | None) -> Scene:
    """The scene that an argument names; left out, `own`, or the Card's by its name in the catalog.

    Raises:
        SceneError: it is left out, and the Card's is not in the catalog.
        OptionError: an argument of another type.
    """
    if value is not None:
        return scene_of(value)
    if own is not None:
        return own
    if card.scene.name not in CATALOG:
        raise SceneError(f"made on {card.scene.name}, which is not in the catalog", use={"scene": "SCENE"})
    return scenes.open_scene(card.scene.name)


def check_split(value: object) -> None:
    """Raises OptionError for what is no Split."""
    if not isinstance(value, Split):
        raise wrong_type("split", value, "a Split (scene.split makes one)")


def recipe_name(value: str | Recipe) -> str:
    """The name by which a recipe is known. Raises OptionError for another type, or a Recipe that has no name."""
    from hsiedge.graphs.quantization.recipes import RECIPES, Recipe

    if isinstance(value, str):
        return value
    if not isinstance(value, Recipe):
        raise wrong_type("recipe", value, "a name or a Recipe")
    name = next((name for name, recipe in RECIPES.items() if recipe == value), None)
    if name is None:
        raise OptionError(f"{value.title!r} is not registered; there are {', '.join(RECIPES)}", option="recipe")
    return name
