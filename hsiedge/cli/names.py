"""Names of the files that commands leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hsiedge.card import Card, SplitFacts, Step
from hsiedge.errors import OptionError
from hsiedge.scenes.splits import Split

SCENE = "scene"
_SUFFIX = {"default": "int8", "avx2": "int8-avx2", "tensorrt": "int8-tensorrt", "float16": "float16", "qat": "int8"}


def stem(card: Card) -> str:
    """SCENE-NET-SPLIT-sSEED[-METHOD...][-RECIPE][-scene]: the recipe where it is quantized, scene where it is a scene graph."""
    words = [file_stem(card.scene.name, card.net.name if card.net else "net", card.split)]
    words += [tag for tag in map(_tag, card.lineage) if tag]
    quantization = card.quantization
    if quantization is not None:
        simulated = quantization.options.get("simulated") is True
        bits = quantization.options.get("weight_bits")
        words.append(_simulated(bits) if simulated else _SUFFIX.get(quantization.recipe, quantization.recipe))
    return safe("-".join([*words, SCENE] if card.kind == "scene" else words), 160)


def qat_stems(card: Card, bits: int) -> tuple[str, str]:
    """Stems of the checkpoint and of the model that quantization-aware training makes of a checkpoint."""
    trained = f"{stem(card)}-qat{bits}"
    return trained, f"{trained}-{_SUFFIX['qat'] if bits == 8 else _simulated(bits)}"


def _simulated(bits: object) -> str:
    return f"int{bits}-simulated"


def map_places(cubes: Sequence[Path], outputs: Sequence[Path], what: str, formats: Sequence[str]) -> list[list[Path]]:
    """Files of each cube's maps: the files that are given for one, else as CUBE-`what`.FORMAT into folders.

    A path without a suffix, or that is a folder, is a folder; where there is none, it is the current one.

    Raises:
        OptionError: a file for several cubes, or formats beside files.
    """
    places: list[list[Path]] = [[] for _ in cubes]
    for path in outputs or [Path()]:
        folder = path.is_dir() or not path.suffix
        if not folder and len(cubes) > 1:
            raise OptionError(
                f"{path} is one file, and there are {len(cubes)} cubes: name a folder, or none for the current one"
            )
        if not folder and formats:
            raise OptionError(f"--format: {path} names its format itself; name a folder, or leave --format out")
        for cube, place in zip(cubes, places):
            place += [path / f"{cube.stem}-{what}.{kind}" for kind in formats or ["npy"]] if folder else [path]
    return places


def _tag(step: Step) -> str:
    """Tag of a compression in a file's name; "" for the other steps."""
    options = step.options
    if step.step == "prune":
        return f"{options.get('method')}{options.get('ratio')}"
    return {"distill": "distilled", "qat": f"qat{options.get('bits')}"}.get(step.step, "")


def file_stem(scene: str, net: str, split: SplitFacts | Split | None) -> str:
    """SCENE-NET-SPLIT-sSEED, and the fold where the split is one of folds."""
    fold = f"-f{split.fold}of{split.folds}" if split is not None and split.folds is not None else ""
    return f"{safe(scene)}-{safe(net)}" + (f"-{safe(split.kind)}-s{split.seed}{fold}" if split else "")


def quantized_stem(source: str, recipe: str) -> str:
    """The name that `recipe` gives what it makes of the float model `source`, a file's stem."""
    plain = source.removesuffix(f"-{SCENE}")
    name = recipe.rpartition(":")[2] if ".py:" in recipe else Path(recipe).stem if recipe.endswith(".toml") else recipe
    return f"{plain}-{_SUFFIX.get(name, safe(name))}" + source[len(plain) :]


def safe(name: str, length: int = 80) -> str:
    """A name that may come from inside a file, as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".")[:length] or "scene"
