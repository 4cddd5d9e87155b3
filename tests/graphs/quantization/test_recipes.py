"""Recipes: ours, a user's own in TOML or Python, and what is no recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="quantizing needs onnx")

import tests.plugin as plugin
from hsiedge.cli.names import quantized_stem
from hsiedge.errors import OptionError
from hsiedge.graphs.quantization.recipes import RECIPES, Recipe, find_recipe


@pytest.fixture(autouse=True)
def _no_recipes_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RECIPES, "_files", {})
    monkeypatch.setattr(RECIPES, "_loaded", {})


def test_ours_by_name() -> None:
    assert list(RECIPES) == ["default", "avx2", "tensorrt", "float16"]
    assert find_recipe("avx2") == ("avx2", RECIPES["avx2"])


def test_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "narrow.toml").write_text("per_channel = false\nseven_bit_weights = true\n")
    expected = Recipe("narrow", per_channel=False, seven_bit_weights=True)
    assert find_recipe(str(tmp_path / "narrow.toml")) == ("narrow", expected)
    assert quantized_stem("ip-scene", "some/narrow.toml") == "ip-narrow-scene"
    assert quantized_stem("ip", "recipes.py:MINE") == "ip-MINE"


def test_a_python_file() -> None:
    name, recipe = find_recipe(f"{plugin.PLUGIN}/example_plugin/recipes.py:PER_TENSOR")
    assert (name, recipe.per_channel) == ("PER_TENSOR", False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("wieghts = 'int8'", r"a.toml: a recipe has no wieghts; it has title, weights, activations"),
        ("weights = 'int4'", r"a.toml: weights 'int4': choose int8 or float16"),
        ("activations = 'float16'", r"a.toml: activations 'float16': choose uint8 or int8"),
        ("per_channel = 1", r"a.toml: no recipe \(1 is not bool\)"),
        ("weights", r"a.toml: not a TOML file"),
    ],
)
def test_what_is_no_recipe(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(OptionError, match=reason):
        find_recipe(str(tmp_path / "a.toml"))


def test_names_that_are_not_there_or_taken(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no recipe is called 'int3'; there are default, avx2, tensorrt, float16"):
        find_recipe("int3")
    with pytest.raises(OptionError, match=r"none\.toml: cannot be read"):
        find_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "default.toml").write_text("per_channel = false\n")
    with pytest.raises(OptionError, match="a recipe called 'default' is there already"):
        find_recipe(str(tmp_path / "default.toml"))


@pytest.mark.slow
def test_a_model_quantized_by_a_toml_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorly", reason="Indian Pines comes with tensorly")
    from hsiedge.graphs.quantization.quantize import quantize
    from hsiedge.scenes.open import open_scene
    from hsiedge.shipped import shipped

    (tmp_path / "narrow.toml").write_text("per_channel = false\n")
    card = quantize(
        shipped(".onnx"), open_scene("indian_pines"), tmp_path / "a.onnx", str(tmp_path / "narrow.toml"), 100, max_drop=50
    )
    assert card.quantization is not None
    assert (card.quantization.recipe, card.quantization.options["per_channel"]) == ("narrow", False)
