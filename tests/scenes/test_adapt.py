"""Cubes adapted to models: units, bands and pixels without data, decided alike for every command."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.card import Card, SceneFacts
from hsiedge.errors import ModelError, OptionError
from hsiedge.mapping import LineClassifier
from hsiedge.mapping.stream import Strip, classify_rows
from hsiedge.runtimes import Model, load
from hsiedge.scenes.adapt import adapt, adapted_scene
from hsiedge.scenes.io.cube import Cube
from tests.mapping.cubes import STORED

COUNTS = np.random.default_rng(0).integers(100, 5000, (6, 5, 4)).astype(np.uint16)
BANDS = 4


@pytest.fixture
def card(make_card: Any, tiny_scene: Any) -> Card:
    return make_card(tiny_scene, 3)


@pytest.fixture
def stored() -> Model:
    return load(STORED / "float.onnx")


def takes(card: Card, dtype: str = "uint16", **facts: Any) -> Card:
    scene = SceneFacts("made", "0" * 64, None, BANDS, dtype, percentiles={"50": [1.0, 2.0, 3.0, 4.0]}, **facts)
    return dataclasses.replace(card, scene=scene, patch=3)


def cube(array: np.ndarray = COUNTS, **facts: Any) -> Cube:
    return Cube.of_array(array, Path("flight.hdr"), **facts)


def rows(card: Card, source: Cube, units: str | None = None) -> np.ndarray:
    return adapt(card, source, units).read(0, 6)[0]


TENTH, HALF = (0.1,) * BANDS, (0.5,) * BANDS


class TestUnits:
    """value = stored * scale + offset, on both sides."""

    def test_neither_says_anything(self, card: Card) -> None:
        assert (rows(takes(card), cube()) == COUNTS).all()
        assert not adapt(takes(card), cube()).changes
        assert (rows(takes(card, "float32"), cube(COUNTS.astype(np.float32))) == COUNTS).all()
        assert (rows(takes(card, "int32"), cube()) == COUNTS).all()

    def test_both_know_their_scale(self, card: Card) -> None:
        halved = rows(takes(card, scales=list(HALF)), cube(scale=(0.25,) * BANDS, offset=(2.0,) * BANDS))
        assert (halved == np.rint((COUNTS * 0.25 + 2.0) / 0.5)).all()
        assert halved.dtype == np.uint16
        real = rows(takes(card, "float32", scales=list(HALF), offsets=[1.0, 2.0, 3.0, 4.0]), cube(scale=TENTH))
        np.testing.assert_allclose(real, (COUNTS * 0.1 - [1, 2, 3, 4]) / 0.5, rtol=1e-6)
        alike = adapt(takes(card, scales=list(TENTH)), cube(scale=TENTH))
        assert not alike.changes

    def test_a_scale_and_real_numbers_of_the_same_unit(self, card: Card) -> None:
        """A reflectance cube of integers for a model of real ones: both say what they mean."""
        source = cube(scale=(1e-4,) * BANDS, quantity="reflectance")
        taken = rows(takes(card, "float32", units="Reflectance"), source)
        np.testing.assert_allclose(taken, COUNTS * 1e-4, rtol=1e-6)
        back = rows(takes(card, scales=[1e-4] * BANDS, quantity="reflectance"), cube((COUNTS * 1e-4), units="reflectance"))
        assert (back == COUNTS).all()

    @pytest.mark.parametrize(
        ("facts", "array", "meaning", "says"),
        [
            ({}, COUNTS, {"scale": TENTH}, "flight.hdr says what its values mean, the model's Card does not"),
            ({"scales": list(TENTH)}, COUNTS, {}, "the model's Card says what its values mean, flight.hdr does not"),
            ({"units": "uW/cm^2"}, COUNTS, {}, "the model's Card says what its values mean, flight.hdr does not"),
            ({}, COUNTS, {"units": "uW/cm^2"}, "flight.hdr says what its values mean, the model's Card does not"),
            ({"dtype": "float32"}, COUNTS, {}, "flight.hdr holds uint16 and names no scale, the model takes float32"),
        ],
    )
    def test_only_one_tells(self, card: Card, facts: dict[str, Any], array: np.ndarray, meaning: Any, says: str) -> None:
        with pytest.raises(ModelError, match=says) as caught:
            adapt(takes(card, **facts), cube(array, **meaning))
        assert caught.value.use == {"units": "stored|physical"}
        assert (rows(takes(card, **facts), cube(array, **meaning), "stored") == array).all()

    def test_physical_values_are_what_they_mean(self, card: Card) -> None:
        np.testing.assert_allclose(rows(takes(card, "float32"), cube(scale=TENTH), "physical"), COUNTS * 0.1, rtol=1e-6)
        real = cube(COUNTS * 0.1)
        assert (rows(takes(card, scales=list(TENTH)), real, "physical") == COUNTS).all()
        with pytest.raises(ModelError, match="the model takes uint16, and its Card names no scale"):
            adapt(takes(card), cube(COUNTS * 0.1, units="reflectance"), "physical")

    @pytest.mark.parametrize(
        ("facts", "meaning", "says"),
        [
            ({"units": "counts"}, {"units": "reflectance"}, "is in 'reflectance', the model takes 'counts'"),
            ({"quantity": "radiance"}, {"units": "reflectance"}, "is in 'reflectance', the model takes 'radiance'"),
            ({"units": "W/m2/sr/um"}, {"units": "uW/cm2/sr/nm"}, "is in 'uW/cm2/sr/nm', the model takes 'W/m2/sr/um'"),
        ],
    )
    def test_units_that_differ(self, card: Card, facts: dict[str, Any], meaning: dict[str, Any], says: str) -> None:
        with pytest.raises(ModelError, match=says):
            adapt(takes(card, **facts), cube(**meaning))

    def test_a_card_of_hsiedge_01_keeps_its_scale_as_a_unit(self, card: Card) -> None:
        assert (rows(takes(card, units="counts of 0.1"), cube(scale=(0.2,) * BANDS)) == 2 * COUNTS).all()

    def test_percent_is_a_scale_on_both_sides(self, card: Card) -> None:
        """Cards of older models name it as a unit."""
        percent, part = COUNTS.astype(np.float32), (COUNTS / 100).astype(np.float32)
        np.testing.assert_allclose(
            rows(takes(card, "float32", quantity="reflectance"), cube(percent, units="%")), part, rtol=1e-6
        )
        assert (rows(takes(card, "float32", units="%"), cube(percent, units="%")) == percent).all()

    def test_radiance_whose_unit_only_one_names(self, card: Card) -> None:
        facts, source = {"quantity": "radiance", "units": "W/m2/sr/um"}, cube(COUNTS * 0.1, quantity="radiance")
        with pytest.raises(
            ModelError, match=r"the model's Card names the unit of its radiance, flight\.hdr does not"
        ) as caught:
            adapt(takes(card, "float64", **facts), source)
        assert caught.value.use == {"units": "stored|physical"}

    def test_counts_are_no_unit(self, card: Card) -> None:
        assert (rows(takes(card, units="counts"), cube()) == COUNTS).all()
        assert (rows(takes(card), cube(units="DN")) == COUNTS).all()

    def test_values_that_the_models_dtype_cannot_hold(self, card: Card) -> None:
        with pytest.raises(ModelError, match="holds values that uint8, which the model takes, cannot hold"):
            rows(takes(card, "uint8"), cube())
        with pytest.raises(ModelError, match="holds float64, the model takes uint16: it was made for other units"):
            adapt(takes(card), cube(COUNTS * 0.1))
        with pytest.raises(OptionError, match="one of stored, physical was expected"):
            adapt(takes(card), cube(), "metric")


class TestPixelsWithoutData:
    def test_in_any_band_that_is_taken(self, card: Card) -> None:
        array = COUNTS.copy()
        array[0, 0, 1], array[1, 1], array[2, 2, 3] = 9, 9, 9
        fit = adapt(takes(card), cube(array, nodata=(None, 9.0, None, None)))
        values, empty = fit.read(0, 6)
        assert np.argwhere(empty).tolist() == [[0, 0], [1, 1]]
        assert (values[empty] == [1, 2, 3, 4]).all()  # the median of the training pixels
        assert (values[~empty] == array[~empty]).all()

    def test_not_in_a_bad_band(self, card: Card) -> None:
        array = np.concatenate([np.zeros((6, 5, 1), np.uint16), COUNTS], axis=2)
        source = cube(array, nodata=(0.0,) * 5, good=(False, True, True, True, True))
        values, empty = adapt(takes(card), source).read(0, 6)
        assert not empty.any()
        assert (values == COUNTS).all()

    @pytest.mark.parametrize("nodata", [np.nan, -9999.0])
    def test_real_numbers(self, card: Card, nodata: float) -> None:
        array = COUNTS.astype(np.float32)
        array[3, 4, 2], array[4, 4, 0] = nodata, np.inf
        empty = adapt(takes(card, "float32"), cube(array, nodata=(nodata,) * BANDS)).read(0, 6)[1]
        assert np.argwhere(empty).tolist() == [[3, 4], [4, 4]]

    def test_masked_by_the_file(self, card: Card) -> None:
        valid = np.ones((6, 5), bool)
        valid[5, 2] = False
        source = cube(valid=lambda first, count: valid[first : first + count])
        assert np.argwhere(adapt(takes(card), source).read(4, 2)[1]).tolist() == [[1, 2]]

    def test_a_nodata_value_that_the_dtype_cannot_hold_marks_nothing(self, card: Card) -> None:
        assert not adapt(takes(card), cube(nodata=(-9999.0,) * BANDS)).read(0, 6)[1].any()
        assert not adapt(takes(card), cube(nodata=(100.5,) * BANDS)).read(0, 6)[1].any()


def test_a_scene_is_adapted_as_a_cube_is(card: Card, tiny_scene: Any) -> None:
    """What `eval` and `quantize` see is what `classify` sees: bands the other way round, another scale, a mask."""
    waves = [500.0, 510.0, 520.0, 530.0, 540.0]
    facts = dataclasses.replace(card.scene, wavelengths=waves, scales=[0.5] * 5)
    valid = np.ones(tiny_scene.shape, bool)
    valid[:2] = False
    backwards = {"cube": tiny_scene.cube[:, :, ::-1].copy(), "wavelengths": tuple(waves[::-1])}
    turned = dataclasses.replace(tiny_scene, **backwards, scale=(1.0,) * 5, offset=(0.0,) * 5, valid=valid)
    with pytest.raises(ModelError, match="says what its values mean"):
        adapted_scene(dataclasses.replace(card, scene=facts), turned)
    quarter = dataclasses.replace(turned, scale=(0.25,) * 5)
    scene = adapted_scene(dataclasses.replace(card, scene=facts), quarter)
    assert (scene.cube[2:] == np.rint(tiny_scene.cube[2:] * 0.5)).all()
    assert (scene.empty == ~valid).all()
    assert scene.wavelengths == tuple(waves)
    assert (scene.labels == tiny_scene.labels).all()
    same = dataclasses.replace(card, scene=dataclasses.replace(card.scene, scales=[], wavelengths=[]))
    assert adapted_scene(same, tiny_scene) is tiny_scene


@pytest.mark.parametrize("push", [1, 3, 40])
def test_lines_as_a_cube_stores_them(stored: Model, tiny_scene: Any, push: int) -> None:
    """Bands the other way round, and pixels without data: the labels of `classify`, however rows come."""
    array = np.concatenate([tiny_scene.cube[:, :, ::-1], np.zeros((40, 30, 1), np.uint16)], axis=2)
    array[7, 4, 2] = 65535
    waves = (540.0, 530.0, 520.0, 510.0, 500.0, 700.0)
    source = Cube.of_array(array, wavelengths=waves, nodata=(65535.0,) * 6)
    facts = dataclasses.replace(stored.known.scene, wavelengths=[500.0, 510.0, 520.0, 530.0, 540.0])
    model = Model(stored.path, stored.session, dataclasses.replace(stored.known, scene=facts))
    strips: list[Strip] = []
    classify_rows(model, source, strips.append)
    expected = np.concatenate([strip.labels for strip in strips])
    lines = LineClassifier(model, 30, like=source)
    labels = [lines.push(array[first : first + push]) for first in range(0, 40, push)]
    np.testing.assert_array_equal(np.concatenate([*labels, lines.finish()]), expected)
    assert expected[7, 4] == 0
    assert (expected == 0).sum() == 1
    with pytest.raises(ModelError, match="the cube stores uint16"):
        LineClassifier(model, 30, like=source).push(tiny_scene.cube[:1])
