"""Names of the files that commands leave."""

from __future__ import annotations

from hsiedge.card import Card

_SUFFIX = {"default": "int8", "avx2": "int8-avx2", "tensorrt": "int8-tensorrt", "float16": "float16"}


def stem(card: Card) -> str:
    """SCENE-NET-SPLIT-sSEED, with the recipe where the model is quantized."""
    net = card.net.name if card.net else "net"
    split = f"-{card.split.kind}-s{card.split.seed}" if card.split else ""
    precision = f"-{_SUFFIX.get(card.quantization.recipe, card.quantization.recipe)}" if card.quantization else ""
    return f"{_safe(card.scene.name)}-{net}{split}{precision}"


def quantized_stem(card: Card, recipe: str) -> str:
    """The name that `recipe` gives a float model with this Card."""
    return f"{stem(card)}-{_SUFFIX.get(recipe, recipe)}"


def _safe(name: str) -> str:
    """A scene's name, which may come from inside a file, as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".")[:80] or "scene"
