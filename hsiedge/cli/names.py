"""Names of the files that commands leave."""

from __future__ import annotations

from hsiedge.card import Card, SplitFacts
from hsiedge.scenes.splits import Split

_SUFFIX = {"default": "int8", "avx2": "int8-avx2", "tensorrt": "int8-tensorrt", "float16": "float16"}


def stem(card: Card) -> str:
    """SCENE-NET-SPLIT-sSEED, with the recipe where the model is quantized."""
    precision = f"-{_SUFFIX.get(card.quantization.recipe, card.quantization.recipe)}" if card.quantization else ""
    return file_stem(card.scene.name, card.net.name if card.net else "net", card.split) + precision


def file_stem(scene: str, net: str, split: SplitFacts | Split | None) -> str:
    """SCENE-NET-SPLIT-sSEED."""
    return f"{safe(scene)}-{safe(net)}" + (f"-{split.kind}-s{split.seed}" if split else "")


def quantized_stem(source: str, recipe: str) -> str:
    """The name that `recipe` gives what it makes of the float model `source`, a file's stem."""
    return f"{source}-{_SUFFIX.get(recipe, recipe)}"


def safe(name: str) -> str:
    """A scene's name, which may come from inside a file, as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".")[:80] or "scene"
