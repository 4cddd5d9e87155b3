from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge import card_packing
from hsiedge.card import (
    MAX_CHARS,
    SCHEMA,
    AccuracyFacts,
    Affine,
    Card,
    Check,
    ClassFacts,
    NetFacts,
    Quantization,
    SceneFacts,
    SplitFacts,
    Step,
    now,
)
from hsiedge.errors import CardError

FULL = Card(
    kind="patch",
    scene=SceneFacts(
        "made", "ab" * 32, False, 3, "uint16", "DN", [400.5, 500.0, 600.0], {"1": [1.0, 2.0, 3.0], "99": [4.0, 5.0, 6.5]}
    ),
    classes=[ClassFacts(1, "Wässer"), ClassFacts(10, "Trees"), ClassFacts(14, 'a "quoted" one')],
    patch=7,
    created="2026-01-01T00:00:00.000001+00:00",
    preprocess="per-band affine",
    input_affine=Affine([1.5, 2.0, 3.0], [0.1, 0.2, 1e-9], "uint8"),
    net=NetFacts("cnn2d", {"width": 32, "drop": 0.25, "names": ["a"]}, 8000, 1_000_000),
    split=SplitFacts("blocks", 0.1, 5, 6, 10, 5, 100, [11], "cd" * 32),
    lineage=[
        Step("train", "2026-01-01T00:00:00+00:00", {"epochs": 3}, None, {"torch": "2.9"}),
        Step("export", "later", {}, "ef" * 32),
    ],
    checks=[Check("export", "PyTorch", 256, {"largest": 1e-6})],
    quantization=Quantization("default", {"a": 1}, {"patches": 200}, ["/conv1"], 500, 99.5, 98.0, None, {"/conv2": 31.5}),
    accuracy=[AccuracyFacts("test", 100, 98.5, 97.0, 96.5, "blocks", [0, 1])],
)
LEAST = {
    "schema": 1,
    "kind": "patch",
    "scene": {"name": "a", "sha256": "", "official": None, "bands": 2, "dtype": "uint16"},
    "classes": [{"id": 1, "name": "a"}],
    "patch": 3,
    "created": "",
}


def refused(text: str, match: str) -> None:
    with pytest.raises(CardError, match=match) as caught:
        Card.from_json(text, "folder/model.onnx")
    assert str(caught.value).startswith("folder/model.onnx: ")


def changed(**changes: Any) -> str:
    return json.dumps({**LEAST, **changes})


LATER = dataclasses.replace(  # with the fields that hsiedge 0.2 added
    FULL,
    head="sigmoid",
    scene=dataclasses.replace(FULL.scene, scales=[0.1, 0.2, 0.3], offsets=[0.0, 0.0, -1.0], quantity="reflectance"),
)


@pytest.mark.parametrize("indent", [None, 2])
def test_round_trip_of_every_field(indent: int | None) -> None:
    for entry in dataclasses.fields(Card):  # no field is left at its default: all of them are tried
        if entry.name != "schema":
            assert getattr(LATER, entry.name) not in (entry.default, [], ""), entry.name
    assert Card.from_json(LATER.to_json(indent), "here") == LATER
    assert Card.from_json(FULL.to_json(indent), "here") == FULL


def test_a_card_of_the_first_version_still_reads() -> None:
    assert Card.from_json((Path(__file__).parent / "data" / "card.json").read_text(), "here") == FULL


def test_packed_round_trip_of_every_field() -> None:
    text = FULL.encode()
    assert text.isascii()
    assert len(text) < 0.6 * len(FULL.to_json())
    assert text == FULL.encode()
    assert Card.decode(text, "here") == Card.decode(FULL.to_json(2), "here") == FULL


def test_a_card_that_was_packed_by_the_first_version_still_reads() -> None:
    assert Card.decode((Path(__file__).parent / "data" / "card.packed").read_text(), "here") == FULL


def test_a_card_of_200_bands_with_a_whole_lineage_takes_little() -> None:
    """A student's Card: of the 16 KiB of its file, at most 3 kB."""
    dice = np.random.default_rng(0)
    spectrum = 3000 + np.cumsum(dice.normal(0, 200, 200))
    bands = [np.rint(spectrum + dice.normal(place, 20, 200)).tolist() for place in (0, -900, 50, 1200)]
    step = Step(
        "distill", now(), {"student": "dscnn", "method": "logits", "weight": 0.2, "epochs": 60}, "ab" * 32, {"torch": "2.13"}
    )
    card = dataclasses.replace(
        FULL,
        scene=SceneFacts("indian_pines", "ef" * 32, True, 200, "uint16", "", [], dict(zip(("1", "50", "99"), bands[1:]))),
        classes=[ClassFacts(number, f"Soybean-mintill {number}") for number in range(1, 17)],
        input_affine=Affine(bands[0], np.round(dice.uniform(0.001, 0.01, 200), 5).tolist(), "uint8", 128, 0.033),
        lineage=[dataclasses.replace(step, parent=f"{dice.integers(2**62):064x}") for _ in range(5)],
    )
    assert Card.decode(card.encode(), "here") == card
    assert len(card.encode()) < 3000 < 0.4 * len(card.to_json())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("z1:", "cannot be unpacked"),
        ("z1:~~~~~", "cannot be unpacked"),
        ("z1:\N{SNOWMAN}", "cannot be unpacked"),
        ("z2:abc", "is not JSON"),
        (FULL.encode()[:-40], "cannot be unpacked"),
        (card_packing.PREFIX + card_packing.pack("[" + "1," * 999 + "1]").removeprefix(card_packing.PREFIX), "no schema"),
    ],
    ids=range(6),
)
def test_what_is_no_packed_card(text: str, match: str) -> None:
    with pytest.raises(CardError, match=match) as caught:
        Card.decode(text, "folder/model.onnx")
    assert str(caught.value).startswith("folder/model.onnx: ")


def test_least_card() -> None:
    card = Card.from_json(json.dumps(LEAST), "here")
    assert (card.net, card.split, card.quantization, card.input_affine, card.lineage) == (None, None, None, None, [])
    assert card.scene.official is None
    assert Card.from_json(card.to_json(), "here") == card


def test_properties() -> None:
    assert (FULL.radius, FULL.precision) == (3, "int8")
    half = dataclasses.replace(FULL.quantization, recipe="float16")  # type: ignore[type-var]
    assert dataclasses.replace(FULL, quantization=half).precision == "float16"
    assert dataclasses.replace(FULL, quantization=None, patch=1).precision == "float32"
    assert dataclasses.replace(FULL, patch=1).radius == 0


def test_unknown_fields_of_a_later_version_are_left_alone() -> None:
    data = json.loads(FULL.to_json())
    data["later"] = {"a": 1}
    data["scene"]["fwhm"] = [1, 2, 3]
    data["lineage"][0]["host"] = "x"
    data["quantization"]["more"] = None
    assert Card.from_json(json.dumps(data), "here") == FULL


def test_a_later_schema_is_refused() -> None:
    refused(changed(schema=SCHEMA + 1), f"schema {SCHEMA + 1}, this hsiedge reads up to {SCHEMA}; update hsiedge")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "no schema"),
        ("null", "no schema"),
        ("{}", "no schema"),
        (changed(schema="1"), "no schema"),
        (changed(schema=True), "no schema"),
        ('{"schema": 1}', "cannot be read"),
        ("9" * 5000, "is not JSON|no schema"),
        ("x" * (MAX_CHARS + 1), "characters long"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_card(text: str, match: str) -> None:
    refused(text, match)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "zip"},
        {"patch": 4},
        {"patch": 0},
        {"patch": -3},
        {"patch": 3.5},
        {"patch": "3"},
        {"patch": True},
        {"patch": None},
        {"classes": []},
        {"classes": None},
        {"classes": {"1": "a"}},
        {"classes": [{"id": 1}]},
        {"classes": [{"id": 0, "name": "a"}]},
        {"classes": [{"id": 65536, "name": "a"}]},
        {"classes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
        {"classes": [{"id": "1", "name": "a"}]},
        {"scene": None},
        {"scene": []},
        {"scene": {**LEAST["scene"], "bands": 0}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "bands": 1 << 40}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "official": "yes"}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "dtype": "object"}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "dtype": "no such thing"}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "wavelengths": [1]}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "wavelengths": [1, "red"]}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "wavelengths": [1, 10**400]}},  # type: ignore[dict-item]
        {"scene": {**LEAST["scene"], "percentiles": {"1": [1, 2, 3]}}},  # type: ignore[dict-item]
        {"input_affine": {"offset": [0, 0], "scale": [1, 1], "dtype": "float32"}},
        {"input_affine": {"offset": [0, 0], "scale": [1, 1], "dtype": "junk"}},
        {"input_affine": {"offset": [0], "scale": [1, 1], "dtype": "uint8"}},
        {"input_affine": {"offset": [0, 0], "scale": [1], "dtype": "uint8"}},
        {"input_affine": {"offset": [0, 0], "scale": [1, 1], "dtype": "uint8", "step": 0}},
        {"input_affine": {"offset": [0, 0], "scale": [1, 1], "dtype": "uint8", "step": None}},
        {"split": {"kind": "random"}},
        {"lineage": [3]},
        {"lineage": {}},
        {"checks": [{"step": "a", "against": "b", "patches": 1, "figures": {"a": "b"}}]},
    ],
    ids=str,
)
def test_what_cannot_be_true(changes: dict[str, Any]) -> None:
    refused(changed(**changes), "its Card cannot be read")


def test_not_finite_figures_become_null_and_nan() -> None:
    card = dataclasses.replace(FULL, accuracy=[dataclasses.replace(FULL.accuracy[0], aa=math.nan, kappa=math.inf)])
    assert "NaN" not in card.to_json()
    back = Card.from_json(card.to_json(), "here").accuracy[0]
    assert math.isnan(back.aa)
    assert math.isnan(back.kappa)
    assert back.oa == 98.5


def test_float32_survives() -> None:
    dice = np.random.default_rng(0)
    values = np.concatenate(
        [dice.integers(0, 2**32, 3000, np.uint32).view(np.float32), np.float32([0, 1, 1e9, 123456789, 1e-45, 3.4e38])]
    )
    values = values[np.isfinite(values)]
    scene = dataclasses.replace(FULL.scene, bands=len(values), wavelengths=values.tolist(), percentiles={})
    card = dataclasses.replace(FULL, scene=scene, input_affine=None)
    back = Card.from_json(card.to_json(), "here").scene.wavelengths
    np.testing.assert_array_equal(np.float32(back), values)


def test_now_keeps_the_order() -> None:
    times = [now() for _ in range(5)]
    assert times == sorted(times)
    assert times[0].endswith("+00:00")
