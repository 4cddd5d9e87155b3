from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hsiedge as he
from hsiedge.card import Card
from hsiedge.errors import ModelError, SceneError, SplitError
from hsiedge.evaluation import evaluate, joined_by_name, split_for
from hsiedge.runtimes import load
from hsiedge.scenes import splits
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.scene import Scene

STORED = Path(__file__).parent / "benchmark" / "data"


def right(scene: Scene, pixels: np.ndarray) -> np.ndarray:
    return scene.labelled().ravel()[pixels]


@pytest.mark.parametrize("kind", ["random", "blocks"])
def test_counts_the_test_pixels_of_the_card(make_card: Callable[..., Card], tiny_scene: Scene, kind: str) -> None:
    split = splits.draw(kind, tiny_scene, 3, guard=2 if kind == "blocks" else None)
    card = Card.from_json(make_card(tiny_scene, 3, split=split.facts).to_json(), "here")
    drawn = split_for(card, tiny_scene)
    assert drawn is not None
    seen: list[np.ndarray] = []

    def predict(scene: Scene, pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return right(scene, pixels)

    result = evaluate(predict, tiny_scene, drawn)
    assert card.split is not None
    assert result.accuracy.n == card.split.test == len(split.pixels(splits.TEST))
    assert (np.concatenate(seen) == split.pixels(splits.TEST)).all()
    assert (result.accuracy.oa, result.accuracy.aa) == (100, 100)
    assert list(result.classes) == [label for label in tiny_scene.classes if label not in split.dropped]


def test_of_a_real_model(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    split = splits.draw("random", tiny_scene)
    model = load(STORED / "float.onnx")
    result = evaluate(model.predict, tiny_scene, split)
    pixels = split.pixels(splits.TEST)
    hits = model.predict(tiny_scene, pixels) == right(tiny_scene, pixels)
    assert result.accuracy.oa == pytest.approx(100 * hits.mean())
    assert 0 < result.accuracy.oa < 100


def test_dropped_classes_are_not_counted(tiny_scene: Scene) -> None:
    labels = tiny_scene.labelled().copy()
    members = np.flatnonzero(labels == 14)
    labels.ravel()[members[3:]] = 0
    scene = dataclasses.replace(tiny_scene, labels=labels)
    split = splits.draw("random", scene)
    assert split.dropped == (14,)
    result = evaluate(right, scene, split)
    assert list(result.classes) == [1, 10, 11]
    assert result.accuracy.n == split.facts.test


def test_a_scene_that_the_model_never_saw(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    card = make_card(tiny_scene, 3, split=splits.draw("random", tiny_scene).facts)
    other = dataclasses.replace(tiny_scene, name="other", cube=tiny_scene.cube + np.uint16(1))
    assert split_for(card, other) is None
    result = evaluate(right, other, None)
    assert result.accuracy.n == (tiny_scene.labelled() > 0).sum()
    assert result.split is None
    assert split_for(make_card(tiny_scene, 3), tiny_scene) is None  # a Card that tells of no split


def test_classes_of_a_new_scene_are_joined_by_name(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    ids = sorted(tiny_scene.classes)
    tiny_scene = dataclasses.replace(tiny_scene, classes={label: f"crop {label}" for label in ids})
    card = make_card(tiny_scene, 3)
    table = np.zeros(max(ids) + 1, np.uint16)
    table[ids] = ids[1:] + ids[:1]
    classes = {int(table[label]): title for label, title in tiny_scene.classes.items()}
    new = {"cube": tiny_scene.cube + np.uint16(1), "labels": table[tiny_scene.labelled()]}
    other = dataclasses.replace(tiny_scene, classes=dict(sorted(classes.items())), **new)
    joined = joined_by_name(card, other)
    assert (joined.labelled() == tiny_scene.labelled()).all()
    assert joined.classes == tiny_scene.classes
    unnamed = dataclasses.replace(other, classes={label: f"class {label}" for label in ids})
    for same in (tiny_scene, dataclasses.replace(tiny_scene, **new), unnamed, dataclasses.replace(other, labels=None)):
        assert joined_by_name(card, same) is same
    twins = dataclasses.replace(tiny_scene, classes=dict.fromkeys(ids, "a crop"))
    unseen = dataclasses.replace(twins, cube=new["cube"])
    assert joined_by_name(make_card(twins, 3), unseen) is unseen  # ids of two classes of one name
    strange = dataclasses.replace(other, classes=other.classes | {ids[0]: "a crop of its own"})
    with pytest.warns(
        SceneWarning, match=r"\d+ pixels of classes that the model does not know do not count: a crop of its own"
    ):
        known = joined_by_name(card, strange)
    assert (known.labelled() == np.where(other.labelled() == ids[0], 0, tiny_scene.labelled())).all()
    strangest = dataclasses.replace(other, classes={label: f"tree {label}" for label in ids})
    with pytest.raises(ModelError, match=f"the model knows none of the classes of tiny .tree {ids[0]}"):
        joined_by_name(card, strangest)


def test_another_cube_of_the_same_name(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    named = dataclasses.replace(tiny_scene, name="salinas")
    card = make_card(named, 3, split=splits.draw("random", named).facts)
    other = dataclasses.replace(named, cube=named.cube + np.uint16(1))
    with pytest.raises(ModelError, match="this salinas is not the cube that the model was trained on"):
        split_for(card, other)


def test_two_files_of_the_same_name_are_two_scenes(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    """Cameras write raw.hdr into every flight's folder: only the catalog's names mean something."""
    card = make_card(tiny_scene, 3, split=splits.draw("random", tiny_scene).facts)
    other = dataclasses.replace(tiny_scene, cube=tiny_scene.cube + np.uint16(1))
    assert split_for(card, other) is None


def test_the_same_cube_under_another_name(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    split = splits.draw("random", tiny_scene)
    renamed = dataclasses.replace(tiny_scene, name="copy", cube=tiny_scene.cube.copy())
    drawn = split_for(make_card(tiny_scene, 3, split=split.facts), renamed)
    assert drawn is not None
    assert drawn.digest == split.digest


def test_other_labels(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    card = make_card(tiny_scene, 3, split=splits.draw("random", tiny_scene).facts)
    with pytest.raises(SplitError, match="not the labels it was trained with"):
        split_for(card, dataclasses.replace(tiny_scene, labels=np.roll(tiny_scene.labelled(), 1, 0)))
    with pytest.raises(SceneError, match="has no labels"):
        split_for(card, dataclasses.replace(tiny_scene, labels=None))


def test_masks(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    labelled = np.flatnonzero(tiny_scene.labelled())
    train, test = np.zeros((40, 30), np.uint8), np.zeros((40, 30), np.uint8)
    train.ravel()[labelled[::2]] = test.ravel()[labelled[1::2]] = 1
    masks = splits.masks_split(tiny_scene, train, test)
    card = make_card(tiny_scene, 3, split=masks.facts)
    assert split_for(card, tiny_scene, masks) is masks
    with pytest.raises(SplitError, match="use train_mask=FILE"):
        split_for(card, tiny_scene)
    random = make_card(tiny_scene, 3, split=splits.draw("random", tiny_scene).facts)
    with pytest.raises(SplitError, match="another masks split"):
        split_for(random, tiny_scene, masks)


def test_a_net_that_looks_too_far_for_its_split(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    facts = splits.draw("blocks", tiny_scene, guard=2).facts
    assert split_for(make_card(tiny_scene, 5, split=facts), tiny_scene) is not None
    with pytest.raises(SplitError, match="use patch=5 or less"):
        split_for(make_card(tiny_scene, 7, split=facts), tiny_scene)


def test_labels_that_only_the_model_knows_are_wrong(tiny_scene: Scene) -> None:
    pixels = np.flatnonzero(tiny_scene.labelled())

    def predict(scene: Scene, where: np.ndarray) -> np.ndarray:
        labels = right(scene, where).copy()
        labels[:10] = 77
        return labels

    result = evaluate(predict, tiny_scene, None)
    assert result.accuracy.n == len(pixels)
    assert result.accuracy.oa == pytest.approx(100 * (1 - 10 / len(pixels)))
    assert list(result.classes) == [1, 10, 11, 14, 77]
    assert result.accuracy.per_class[-1].n == 0
    assert result.accuracy.confusion[:, -1].sum() == 10
    recalls = [entry.pa for entry in result.accuracy.per_class[:4]]
    assert result.accuracy.aa == pytest.approx(np.mean(recalls))


def test_a_model_of_more_classes_on_a_piece_of_its_land(tiny_scene: Scene) -> None:
    labels = np.where(np.isin(tiny_scene.labelled(), (1, 11)), tiny_scene.labelled(), 0).astype(np.uint16)
    piece = dataclasses.replace(tiny_scene, name="piece", labels=labels, classes={1: "class 1", 11: "class 11"})
    model = load(STORED / "float.onnx")
    result = evaluate(model.predict, piece, None)
    assert result.accuracy.n == (labels > 0).sum()
    assert set(result.classes) == {1, 10, 11, 14}
    assert result.classes[14] == "class 14"
    named = evaluate(model.predict, piece, None, names=model.known.class_names).classes
    assert (
        named
        == he.load(model.path).evaluate(piece).classes
        == he.evaluate(model.path, piece, None).classes
        == model.known.class_names
    )
    own = dataclasses.replace(piece, classes={1: "mine", 11: "class 11"})
    named = evaluate(model.predict, own, None, names=model.known.class_names).classes
    assert named == {**model.known.class_names, 1: "mine"}


def test_json(tiny_scene: Scene) -> None:
    split = splits.draw("blocks", tiny_scene, 3, guard=2)
    model = load(STORED / "float.onnx")
    data = json.loads(json.dumps(evaluate(model.predict, tiny_scene, split).to_json("float.onnx"), allow_nan=False))
    assert {key: data[key] for key in ("schema", "scene", "model", "n")} == {
        "schema": 1,
        "scene": "tiny",
        "model": "float.onnx",
        "n": split.facts.test,
    }
    assert data["split"] == {"kind": "blocks", "fraction": 0.1, "seed": 3, "guard": 2, "digest": split.digest}
    assert set(data["per_class"]) == {tiny_scene.classes[label] for label in tiny_scene.classes if label not in split.dropped}
    assert sum(entry["n"] for entry in data["per_class"].values()) == data["n"]
    assert data["oa_interval"][0] < data["oa"] < data["oa_interval"][1]
    assert np.sum(data["confusion"]) == data["n"]
    everything = evaluate(lambda scene, pixels: np.full(len(pixels), 1, np.uint16), tiny_scene, None).to_json("m")
    assert everything["split"] == {"kind": "all", "fraction": None, "seed": None, "guard": None, "digest": None}
    never = [entry["ua"] for entry in everything["per_class"].values()]
    assert never[1:] == [None, None, None]
    json.dumps(everything, allow_nan=False)
