from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.errors import DownloadError, OptionError, SplitError
from hsiedge.scenes import splits
from hsiedge.scenes.catalog import RemoteFile
from hsiedge.scenes.io.cube import SceneWarning
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION, PublishedMaps, PublishedSplit
from hsiedge.scenes.splits.published import PUBLISHED


@pytest.fixture
def maps(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of published maps, where they are looked for."""
    monkeypatch.setenv("HSIEDGE_DATA", str(shared / "data"))
    return shared / "data" / "splits"


HONG = {1: 15, 7: 15, 9: 15}  # training pixels; 50 of each other class


def test_hong(indian_pines: Scene, maps: Path) -> None:
    split = indian_pines.split("hong", seed=3)
    facts = split.facts
    assert (facts.kind, facts.train + facts.validation, facts.test, facts.dropped) == ("hong", 695, 9671, [])
    trains = (split.parts == TRAIN) | (split.parts == VALIDATION)
    counts = {label: int((split.labels_on(indian_pines)[trains] == label).sum()) for label in indian_pines.classes}
    assert counts == {label: HONG.get(label, 50) for label in indian_pines.classes}
    assert facts.published is not None
    assert set(facts.published.files) == {"IndianTR123_temp123.tif", "IndianTE123_temp123.tif"}
    assert splits.redraw(indian_pines, facts).digest == facts.digest
    assert round(100 * splits.leaked(split, 3), 1) == 78.9


def test_maps_lie_in_the_folder_that_was_named_for_scenes(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--data-dir` names it; the scene itself is the one that tensorly carries."""
    pytest.importorskip("tensorly", reason="tensorly carries Indian Pines, and is not installed")
    monkeypatch.delenv("HSIEDGE_DATA", raising=False)
    scene = open_scene("indian_pines", data_dir=shared / "data")
    assert scene.split("hong").facts.test == 9671


def test_orders_of_classes_are_those_that_the_maps_show(indian_pines: Scene, maps: Path) -> None:
    """Where both label a pixel, they agree: all of Hong's, and all but ten of Paoletti's."""
    for name, differ, beyond in (("hong", 0, 256), ("paoletti", 10, 151)):
        split = indian_pines.split(name)
        ours, theirs = indian_pines.labelled()[split.parts != 0], split.labels_on(indian_pines)[split.parts != 0]
        assert int((ours != theirs)[ours != 0].sum()) == differ
        assert int((ours == 0).sum()) == beyond


def test_paoletti_tests_what_does_not_train(indian_pines: Scene, maps: Path) -> None:
    split = indian_pines.split("paoletti")
    trains = (split.parts == TRAIN) | (split.parts == VALIDATION)
    assert (int(trains.sum()), split.facts.test) == (5689, 4711)
    assert (split.labels_on(indian_pines)[split.parts == TEST] == indian_pines.labelled()[split.parts == TEST]).all()
    assert ((split.parts == TEST) == ((indian_pines.labelled() != 0) & ~trains)).all()


@pytest.mark.filterwarnings("ignore:.*differs from the official")
def test_hong_on_pavia_university(maps: Path) -> None:
    pytest.importorskip("scipy", reason="scipy reads the .mat, and is not installed")
    folder = maps.parent / "pavia_simulated"
    scene = open_scene(folder / "PaviaU.mat", folder / "PaviaU_gt.mat")
    split = scene.split("hong")
    assert (split.facts.train + split.facts.validation, split.facts.test) == (3921, 40002)
    assert int((scene.labelled()[(split.parts == TRAIN) | (split.parts == VALIDATION)] == 0).sum()) == 1147


def test_a_scene_without_maps_and_another_size(tiny_scene: Scene, indian_pines: Scene, maps: Path) -> None:
    with pytest.raises(SplitError, match="the paoletti split has no maps of tiny; it has those of indian_pines"):
        tiny_scene.split("paoletti")
    with pytest.raises(SplitError, match=r"indian_pines has no classes \[2, 3"):
        dataclasses.replace(tiny_scene, name="indian_pines").split("hong")
    small = dataclasses.replace(indian_pines, cube=indian_pines.cube[:90], labels=indian_pines.labelled()[:90])
    with pytest.raises(SplitError, match=r"is a map of \(145, 145\) pixels, indian_pines has \(90, 145\)"):
        small.split("hong")


def test_another_map_under_the_published_name(
    indian_pines: Scene, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(maps / "IndianTE123_temp123.tif", tmp_path / "IndianTR123_temp123.tif")
    monkeypatch.setenv("HSIEDGE_DATA", str(tmp_path))
    with pytest.raises(SplitError, match=r"IndianTR123_temp123.tif: not the published map"):
        indian_pines.split("hong")


def own_split(scene: Scene, folder: Path, url: str = "http://127.0.0.1:9/") -> PublishedSplit:
    """A split of one's own, whose map is a .npy in `folder`: odd labelled pixels train, under other values than the scene's."""
    flat = scene.labelled().ravel()
    train = np.zeros(flat.size, np.uint8)
    odd = np.flatnonzero(flat)[1::2]
    train[odd] = 1 + np.searchsorted([1, 10, 11, 14], flat[odd])
    np.save(folder / "train.npy", train.reshape(scene.shape))
    return PublishedSplit({"tiny": PublishedMaps((1, 10, 11, 14), RemoteFile("train.npy", "", url + "train.npy"))})


def test_a_split_of_ones_own(tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_split(tiny_scene, tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(
        "from hsiedge.scenes.catalog import RemoteFile\n"
        "from hsiedge.scenes.splits import PublishedMaps, PublishedSplit\n"
        'odd = PublishedSplit({"tiny": PublishedMaps((1, 10, 11, 14), RemoteFile("train.npy", "", "http://127.0.0.1:9/"))})\n'
    )
    monkeypatch.setenv("HSIEDGE_DATA", str(tmp_path))
    split = tiny_scene.split(f"{file}:odd")
    assert (split.kind, split.facts.test) == ("odd", round((tiny_scene.labelled() != 0).sum() / 2))
    assert splits.redraw(tiny_scene, split.facts).digest == split.digest
    assert (split.labels_on(tiny_scene)[split.parts != 0] == tiny_scene.labelled()[split.parts != 0]).all()


def test_a_card_runs_no_file(tiny_scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nodd = 1\n")
    facts = dataclasses.replace(splits.draw("random", tiny_scene).facts, kind=f"{tmp_path}/bad.py:odd")
    with pytest.raises(SplitError, match="is not known here"):
        splits.redraw(tiny_scene, facts)
    assert not (tmp_path / "ran").exists()


def test_a_map_that_cannot_be_had(tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setitem(PUBLISHED._ours, "unreachable", own_split(tiny_scene, folder))
    with pytest.raises(DownloadError, match=r"train.npy: cannot be downloaded"):
        tiny_scene.split("unreachable")


def test_values_beyond_the_order(tiny_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = own_split(tiny_scene, tmp_path)
    short = dataclasses.replace(entry.maps["tiny"], order=(1, 10, 11))
    monkeypatch.setitem(PUBLISHED._ours, "short", PublishedSplit({"tiny": short}))
    monkeypatch.setenv("HSIEDGE_DATA", str(tmp_path))
    with pytest.raises(SplitError, match="go from 0 to 4, there are 3 classes"):
        tiny_scene.split("short")


def test_mask_labels(tiny_scene: Scene) -> None:
    """The masks' values count: class 10's pixels as class 11, and pixels that the scene leaves unlabelled as class 1."""
    labels = np.where(tiny_scene.labelled() == 10, 11, tiny_scene.labelled())
    labels[tiny_scene.labelled() == 0] = 1
    odd = (np.arange(labels.size) % 2).reshape(labels.shape)
    train, test = labels * odd, labels * (1 - odd)
    with pytest.raises(SplitError, match="mask_labels"):
        tiny_scene.split(train_mask=train, test_mask=test)
    split = tiny_scene.split(train_mask=train, test_mask=test, mask_labels=True)
    assert (split.labels_on(tiny_scene) == labels).all()
    assert split.dropped == (10,)
    with pytest.warns(SceneWarning, match=r"other labels than the scene does: are their values its label ids"):
        same = splits.masks_split(tiny_scene, (train != 0) * 1, (test != 0) * 1, mask_labels=True)
    assert (same.parts != 0).sum() == (split.parts != 0).sum()
    assert same.digest != split.digest
    with pytest.raises(SplitError, match="holds 7, which are no label ids of tiny"):
        tiny_scene.split(train_mask=np.where(train == 14, 7, train), test_mask=test, mask_labels=True)
    with pytest.raises(OptionError, match="use train_mask and test_mask"):
        tiny_scene.split(mask_labels=True)


def test_labels_in_another_order_are_not_taken_without_a_word(indian_pines: Scene, maps: Path) -> None:
    """Hong's own maps as masks with labels: their values are the scene's ids in another order."""
    train, test = (read_labels(maps / f"Indian{part}123_temp123.tif").array for part in ("TR", "TE"))
    with pytest.warns(SceneWarning, match=r"indian_pines: the masks give \d+ of 10110 pixels other labels"):
        splits.masks_split(indian_pines, train, test, mask_labels=True)


def test_card_keeps_name_digests_and_order(indian_pines: Scene, maps: Path, make_card: object) -> None:
    facts = indian_pines.split("hong").facts
    card = make_card(indian_pines, 3, split=facts)  # type: ignore[operator]
    assert isinstance(card, Card)
    again = Card.decode(card.encode(), "card").split
    assert again == facts
    assert again is not None
    assert again.published is not None
    assert again.published.order[:3] == [2, 3, 4]
