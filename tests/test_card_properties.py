"""Whatever a stranger's file holds in the place of a Card, it is a Card or a CardError."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the files, and is not installed")
from hypothesis import given, settings
from hypothesis import strategies as st

from hsiedge.card import Card
from hsiedge.errors import CardError

FULL = (Path(__file__).parent / "data" / "card.json").read_text()
SCALARS = st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -(10**30)]) | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


PLACES = places(json.loads(FULL))[1:]


def read(text: str) -> None:
    with contextlib.suppress(CardError):
        card = Card.from_json(text, "here")
        assert Card.from_json(card.to_json(), "here").classes == card.classes
        assert Card.decode(card.encode(), "here").to_json() == card.to_json()


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3), st.booleans())
def test_a_card_with_places_changed(changes: list[tuple[tuple[Any, ...], Any]], remove: bool) -> None:
    data = json.loads(FULL)
    for path, value in changes:
        inner = data
        with contextlib.suppress(TypeError, KeyError, IndexError):  # the place has gone with an earlier change
            for key in path[:-1]:
                inner = inner[key]
            if remove:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
    read(json.dumps(data))


@pytest.mark.slow
@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["kind", "scene", "classes", "patch", "created", "split", "x"]), JSON))
def test_any_object(data: dict[str, Any]) -> None:
    read(json.dumps({"schema": 1, **data}))


@settings(max_examples=100)
@given(JSON.map(json.dumps) | st.text())
def test_any_text(text: str) -> None:
    read(text)


@settings(max_examples=100)
@given(st.integers(0, len(FULL)), st.integers(0, len(FULL)), st.text(max_size=5))
def test_a_card_with_text_cut_out(start: int, end: int, between: str) -> None:
    text = FULL
    read(text[:start] + between + text[end:])
