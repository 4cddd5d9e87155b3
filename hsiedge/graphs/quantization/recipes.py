"""Quantization recipes: plain data, kept in the Card of what they made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hsiedge import files
from hsiedge.decoding import build
from hsiedge.errors import OptionError
from hsiedge.registry import Registry, instance_of


@dataclass(frozen=True)
class Recipe:
    """Recipe by which weights and activations become integers.

    Attributes:
        title: what it is for.
        weights: "int8", or "float16", which leaves everything else as it is.
        activations: "uint8" or "int8".
        per_channel: one weight scale an output channel.
        seven_bit_weights: sums of two 8-bit products overflow the 16-bit registers of AVX2 (vpmaddubsw); 7 bits do not.
        symmetric_activations: zero point 0.
        integer_bias: int32 biases; float ones otherwise.
    """

    title: str
    weights: str = "int8"
    activations: str = "uint8"
    per_channel: bool = True
    seven_bit_weights: bool = False
    symmetric_activations: bool = False
    integer_bias: bool = True


RECIPES: Registry[Recipe] = Registry(
    "hsiedge.recipes",
    "recipe",
    {
        "default": Recipe("ARM, and x86 with VNNI or AMX"),
        "avx2": Recipe("x86 without VNNI: 7-bit weights, where 8-bit ones overflow", seven_bit_weights=True),
        "tensorrt": Recipe(
            "TensorRT: S8S8, symmetric, no quantized bias",
            activations="int8",
            symmetric_activations=True,
            integer_bias=False,
        ),
        "float16": Recipe("half the file; the time of float32, into which it is cast at load", weights="float16"),
    },
    instance_of(Recipe),
)


def find_recipe(text: str | Recipe) -> tuple[str, Recipe]:
    """The recipe that a user asks for, and what it is called: a name, FILE.py:NAME, or a TOML file with `Recipe`'s fields.

    A TOML file's recipe is called as the file, without its suffix; "title" may be left out. A `Recipe` itself is called as the
    registered one that equals it, else as its title.

    Raises:
        OptionError: no such recipe or file, or a field that is unknown or cannot be.
    """
    if isinstance(text, Recipe):
        name = next((name for name, recipe in RECIPES.items() if recipe == text), text.title)
        return name, checked(name, text)
    if not text.endswith(".toml"):
        name = RECIPES.name_of(text)
        return name, checked(text, RECIPES[name])
    path = Path(text)
    if path.stem in RECIPES:
        raise OptionError(f"{path}: a recipe called {path.stem!r} is there already; give the file another name")
    fields = {"title": path.stem, **files.read_toml(path)}
    unknown = fields.keys() - {field.name for field in dataclasses.fields(Recipe)}
    if unknown:
        known = ", ".join(field.name for field in dataclasses.fields(Recipe))
        raise OptionError(f"{path}: a recipe has no {', '.join(sorted(unknown))}; it has {known}")
    try:
        recipe: Recipe = build(Recipe, fields)
    except TypeError as error:
        raise OptionError(f"{path}: no recipe ({error})") from error
    return path.stem, checked(text, recipe)


def checked(text: str, recipe: Recipe) -> Recipe:
    """The recipe. Raises OptionError where a field of it cannot be; `text` is what it is called there."""
    for field, allowed in {"weights": ("int8", "float16"), "activations": ("uint8", "int8")}.items():
        if getattr(recipe, field) not in allowed:
            raise OptionError(f"{text}: {field} {getattr(recipe, field)!r}: choose {' or '.join(allowed)}")
    return recipe
