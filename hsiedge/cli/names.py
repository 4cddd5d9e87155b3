"""Names of the files that commands leave."""

from __future__ import annotations

from hsiedge.card import Card, SplitFacts, Step
from hsiedge.scenes.splits import Split

SCENE = "scene"
_SUFFIX = {"default": "int8", "avx2": "int8-avx2", "tensorrt": "int8-tensorrt", "float16": "float16", "qat": "int8"}


def stem(card: Card) -> str:
    """SCENE-NET-SPLIT-sSEED[-METHOD...][-RECIPE][-scene]: the recipe where it is quantized, scene where it is a scene graph."""
    words = [file_stem(card.scene.name, card.net.name if card.net else "net", card.split)]
    words += [tag for tag in map(_tag, card.lineage) if tag]
    made = card.quantization
    if made is not None:
        simulated = made.options.get("simulated") is True
        words.append(f"int{made.options.get('weight_bits')}-simulated" if simulated else _SUFFIX.get(made.recipe, made.recipe))
    return safe("-".join([*words, SCENE] if card.kind == "scene" else words), 160)


def _tag(step: Step) -> str:
    """What a compression is called in a file's name; "" for the other steps."""
    said = step.options
    if step.step == "prune":
        return f"{said.get('method')}{said.get('ratio')}"
    return {"distill": "distilled", "qat": f"qat{said.get('bits')}"}.get(step.step, "")


def file_stem(scene: str, net: str, split: SplitFacts | Split | None) -> str:
    """SCENE-NET-SPLIT-sSEED."""
    return f"{safe(scene)}-{safe(net)}" + (f"-{split.kind}-s{split.seed}" if split else "")


def quantized_stem(source: str, recipe: str) -> str:
    """The name that `recipe` gives what it makes of the float model `source`, a file's stem."""
    plain = source.removesuffix(f"-{SCENE}")
    return f"{plain}-{_SUFFIX.get(recipe, recipe)}" + source[len(plain) :]


def safe(name: str, length: int = 80) -> str:
    """A name that may come from inside a file, as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".")[:length] or "scene"
