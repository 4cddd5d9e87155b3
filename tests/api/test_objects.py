"""Paths and objects alike; equality, short reprs, HTML, and one clear error for a wrong type."""

from __future__ import annotations

import base64
import dataclasses
import io
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hsiedge as he
from hsiedge.scenes.pack import pack
from hsiedge.scenes.thumbnail import bands_shown, false_colour

QUICK = {"batches": [1], "runs": 1, "seconds": 0.05}


def picture_of(html: str) -> bytes:
    """The PNG inside an image element."""
    match = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    assert match is not None
    return base64.b64decode(match[1])


@pytest.fixture
def report(model: he.Model) -> he.Report:
    return he.bench(model, **QUICK)


def test_scenes_are_equal_by_content(tiny_scene: he.Scene, tmp_path: Path) -> None:
    pack(tiny_scene, tmp_path / "tiny.npz")
    packed = he.open_scene(tmp_path / "tiny.npz")
    assert packed == tiny_scene
    assert hash(packed) == hash(tiny_scene)
    assert len({packed, tiny_scene}) == 1
    labels = tiny_scene.labelled().copy()
    labels[0, 0] = 1 - min(int(labels[0, 0]), 1)
    counts = tiny_scene.cube.copy()
    counts[0, 0, 0] += 1
    for change in ({"labels": labels}, {"labels": None}, {"cube": counts}, {"nodata": 3.0}, {"classes": {1: "other"}}):
        changed = dataclasses.replace(tiny_scene, **change)
        assert changed != tiny_scene, change
        assert hash(changed) != hash(tiny_scene), change
    assert tiny_scene != "tiny"


def test_a_cube_of_your_own_with_its_labels(tiny_scene: he.Scene, tmp_path: Path) -> None:
    np.save(tmp_path / "flight.npy", tiny_scene.cube)
    np.save(tmp_path / "labels.npy", tiny_scene.labelled())
    scene = he.open_scene(str(tmp_path / "flight.npy"), labels=tmp_path / "labels.npy")
    assert scene == dataclasses.replace(tiny_scene, name="other", classes=scene.classes)
    assert he.open_scene(scene) is scene


def test_splits_are_drawn_by_kind(tiny_scene: he.Scene) -> None:
    from hsiedge.scenes.splits import TEST, TRAIN, masks_split, random_split

    split = tiny_scene.split("random", train=0.2, seed=5)
    assert split.digest == random_split(tiny_scene, 5, 0.2).digest
    train, test = (split.parts == part for part in (TRAIN, TEST))
    masked = tiny_scene.split(train_mask=train, test_mask=test, seed=5)
    assert (masked.kind, masked.digest) == ("masks", masks_split(tiny_scene, train, test, 5).digest)
    with pytest.raises(he.errors.OptionError, match="go together; use train_mask and test_mask"):
        tiny_scene.split(train_mask=train)
    with pytest.raises(he.errors.OptionError, match="choose random, blocks"):
        tiny_scene.split("stripes")


def test_reprs_are_one_short_line(tiny_scene: he.Scene, model: he.Model, split_model: he.Model, report: he.Report) -> None:
    labelled = model.classify(tiny_scene)
    objects = [
        *(tiny_scene, tiny_scene.split(), model, model.known, labelled, report),
        *(model.evaluate(tiny_scene), split_model.evaluate(tiny_scene)),
    ]
    for thing in objects:
        text = repr(thing)
        assert len(text) < 160, text
        assert "\n" not in text
        assert "array(" not in text
    assert "40 x 30 pixels, 5 bands of uint16, 4 classes" in repr(tiny_scene)
    assert "labelled pixels of tiny" in repr(model.evaluate(tiny_scene))
    assert "test pixels of tiny" in repr(split_model.evaluate(tiny_scene))


def test_html_of_a_scene_holds_a_picture(tiny_scene: he.Scene) -> None:
    matplotlib = pytest.importorskip("matplotlib.image", reason="matplotlib reads the picture, and is not installed")
    hostile = dataclasses.replace(tiny_scene, name="<script>", classes={1: "a<b", 10: "b", 11: "c", 14: "d"})
    html = hostile._repr_html_()
    assert "<script>" not in html
    assert "a&lt;b" in html
    picture = matplotlib.imread(io.BytesIO(picture_of(html)), format="png")
    assert (np.round(picture * 255).astype(np.uint8) == false_colour(hostile)).all()
    assert picture.shape == (40, 30, 3)


def test_false_colour_takes_near_infrared_red_and_green() -> None:
    wavelengths = tuple(float(value) for value in range(400, 1000, 50))
    counts = np.zeros((600, 300, len(wavelengths)), np.uint16)
    counts[..., wavelengths.index(850)] = np.arange(600)[:, None]
    counts[:100] = 9999
    scene = he.Scene("ramp", counts, None, {}, wavelengths, nodata=9999)
    assert [wavelengths[band] for band in bands_shown(scene)] == [850, 650, 550]
    picture = false_colour(scene)
    assert picture.shape == (200, 100, 3)
    assert not picture[:33].any()  # no data
    assert picture[-1, 0, 0] == 255
    assert picture[34, 0, 0] < 5
    assert not picture[..., 1:].any()


def test_html_of_results_is_a_table(tiny_scene: he.Scene, model: he.Model, report: he.Report) -> None:
    assert report._repr_html_().count("<tr>") == 2
    assert "pixels_per_s" in report._repr_html_()
    evaluation = model.evaluate(tiny_scene)._repr_html_()
    assert evaluation.count("<tr>") == 1 + len(tiny_scene.classes)
    assert "class 14" in evaluation
    labels = model.classify(tiny_scene)
    assert picture_of(labels._repr_html_()).startswith(b"\x89PNG")
    for thing in (model, model.known, tiny_scene.split()):
        assert thing._repr_html_().startswith("<table>")


def test_a_report_becomes_a_frame(report: he.Report) -> None:
    pandas = pytest.importorskip("pandas", reason="frames are pandas', which is not installed")
    frame = report.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["model"]) == [entry.model for entry in report.results]
    assert list(frame["p50 ms"]) == [entry.latency_ms.p50 for entry in report.results]


def test_a_frame_without_pandas_names_the_extra(report: he.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(he.errors.MissingExtraError, match=r"pip install 'hsiedge\[frame\]'") as caught:
        report.to_frame()
    assert caught.value.extra == "frame"


@pytest.mark.slow
def test_one_path_or_several_or_objects(model: he.Model) -> None:
    results = [he.bench(models, **QUICK).results for models in (str(model.path), model.path, model, [model])]
    assert [[entry.sha256 for entry in entries] for entries in results] == [[results[0][0].sha256]] * 4
    assert model.bench(**QUICK).results[0].sha256 == results[0][0].sha256
    with pytest.raises(he.errors.ModelError, match=r"^m\.onnx: no such file$"):
        he.bench("m.onnx")


def test_evaluating_models_paths_and_functions(tiny_scene: he.Scene, split_model: he.Model) -> None:
    own = split_model.evaluate(tiny_scene)
    assert own.n == tiny_scene.split(seed=3).facts.test
    assert he.evaluate(split_model.path, tiny_scene).accuracy.confusion.tolist() == own.accuracy.confusion.tolist()
    everything = he.evaluate(split_model, tiny_scene, None)
    assert everything.n == int((tiny_scene.labelled() != 0).sum())
    by_function = he.evaluate(split_model.predict, tiny_scene, tiny_scene.split(seed=3))
    assert (by_function.oa, by_function.aa, by_function.kappa) == (own.oa, own.aa, own.kappa)
    with pytest.raises(he.errors.OptionError, match="neither scene nor split of its own; use scene and split"):
        he.evaluate(split_model.predict, tiny_scene)
    with pytest.raises(he.errors.SceneError, match="made on tiny, which is not in the catalog; use scene=SCENE"):
        split_model.evaluate()


def test_a_map_of_anything_that_holds_a_cube(tiny_scene: he.Scene, model: he.Model, tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", tiny_scene.cube)
    labels = he.classify(model.path, tiny_scene.cube)
    for cube in (tiny_scene, tmp_path / "cube.npy", str(tmp_path / "cube.npy"), tiny_scene.cube):
        assert (np.asarray(model.classify(cube)) == labels).all()
        assert (he.classify(model, cube) == labels).all()
    line = he.LineClassifier(model.path, tiny_scene.shape[1])
    assert (np.concatenate([line.push(tiny_scene.cube), line.finish()]) == labels).all()


def test_a_map_is_saved_with_probabilities(tiny_scene: he.Scene, model: he.Model, tmp_path: Path) -> None:
    labelled = model.classify(tiny_scene, probabilities=True, reject=0.3)
    assert labelled.save(tmp_path / "map.npy", probabilities=tmp_path / "likely.npy") is labelled
    assert (np.load(tmp_path / "map.npy") == labelled.labels).all()
    likely = np.load(tmp_path / "likely.npy")
    assert likely.shape == (40, 30, 4)
    assert np.abs(likely.sum(-1) - 1).max() < 1e-5
    assert sum(labelled.counts().values()) == 1200
    assert labelled.counts()["unknown"] == labelled.stats.unknown == (likely.max(-1) < 0.3).sum()
    with pytest.raises(he.errors.OptionError, match="classify with probabilities=True"):
        model.classify(tiny_scene).save(tmp_path / "b.npy", probabilities=tmp_path / "c.npy")
    with pytest.raises(he.errors.OptionError, match="a map is written as one of"):
        labelled.save(tmp_path / "map.jpg")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda model, scene: he.bench(3), "models: a path, a Model, or a list of them is expected, not int"),
        (lambda model, scene: he.bench([model, 3]), "models: a path is expected, not int"),
        (lambda model, scene: he.load(None), "path: a path is expected, not NoneType"),
        (lambda model, scene: he.open_scene(3), "source: a name of the catalog, a path, or a Scene is expected, not int"),
        (lambda model, scene: he.train(3), "scene: a Scene, a name of the catalog, or a path is expected, not int"),
        (lambda model, scene: he.train(scene, 4), "split: a Split (scene.split makes one) is expected, not int"),
        (lambda model, scene: he.evaluate(3), "model: a path, a Model or a function is expected, not int"),
        (lambda model, scene: he.evaluate(model, scene, 3), "split: a Split (scene.split makes one) is expected, not int"),
        (lambda model, scene: model.evaluate([]), "scene: a Scene, a name of the catalog, or a path is expected, not list"),
        (lambda model, scene: model.classify(3), "cube: a path, a Scene or an array is expected, not int"),
        (lambda model, scene: model.quantize(scene, recipe=3), "recipe: a name or a Recipe is expected, not int"),
        (lambda model, scene: model.to_scene_graph(3), "path: a path is expected, not int"),
        (lambda model, scene: he.LineClassifier(3, 10), "model: a path is expected, not int"),
        (lambda model, scene: he.LineClassifier(model, "86"), "width='86': a whole number is expected"),
        (lambda model, scene: he.LineClassifier(model, -5), "width=-5: 1 or more was expected"),
        (
            lambda model, scene: he.LineClassifier(model, 30).push(None),
            "rows: an array (n, width, bands) is expected, not NoneType",
        ),
        (lambda model, scene: he.LineClassifier(model, 30).push([]), "rows: an array (n, width, bands) is expected, not list"),
        (lambda model, scene: he.train(scene, epochs=1.5), "epochs=1.5: a whole number is expected"),
        (lambda model, scene: he.train(scene, epochs="3"), "epochs='3': a whole number is expected"),
        (lambda model, scene: he.train(scene, patch="a"), "patch='a': a whole number is expected"),
        (lambda model, scene: he.train(scene, patch=[5]), "patch: a whole number is expected, not list"),
        (
            lambda model, scene: he.Checkpoint(model.known).distill(net="nope"),
            "net: the student's net is called otherwise here; use student=nope",
        ),
        (lambda model, scene: he.load(model, threads="a"), "threads='a': a whole number is expected"),
        (lambda model, scene: model.quantize(scene, max_drop="a"), "max_drop='a': a number is expected"),
        (lambda model, scene: model.quantize(scene, patches=9.5), "patches=9.5: a whole number is expected"),
        (lambda model, scene: model.classify(scene, reject="a"), "reject='a': a number is expected"),
        (lambda model, scene: model.classify(scene, reject=1), "reject=1: a probability of 0 or more and below 1 was expected"),
        (lambda model, scene: model.classify(scene, memory="x"), "memory=x: not a size; write it as 16KiB, 20kB or 16384"),
        (lambda model, scene: model.classify(scene, memory=1e9), "memory=1000000000.0: a whole number is expected"),
        (lambda model, scene: he.Checkpoint.open(3), "path: a path is expected, not int"),
    ],
)
def test_a_wrong_type_is_one_clear_error(
    call: Callable[[he.Model, he.Scene], object], says: str, model: he.Model, tiny_scene: he.Scene
) -> None:
    with pytest.raises(he.errors.OptionError) as caught:
        call(model, tiny_scene)
    assert str(caught.value) == says


def test_errors_carry_their_fields_across_processes() -> None:
    error = he.errors.OptionError("choose ort or torch", option="runtime", value="tf", use={"runtime": "ort"}, run=("doctor",))
    assert str(error) == "runtime=tf: choose ort or torch; use runtime=ort; hsiedge doctor"
    for original in (error, he.errors.MissingExtraError("the study", "study"), he.errors.SceneError("gone")):
        copy = pickle.loads(pickle.dumps(original))
        assert (type(copy), str(copy), vars(copy)) == (type(original), str(original), vars(original))


def test_memory_is_written_as_on_the_command_line(tiny_scene: he.Scene, model: he.Model) -> None:
    assert (model.classify(tiny_scene, memory="64mib").labels == model.classify(tiny_scene).labels).all()


def test_an_opened_model_is_not_pickled(model: he.Model) -> None:
    with pytest.raises(he.errors.ModelError, match="cannot be pickled; pickle its path, and open it there"):
        pickle.dumps(model)


def test_one_line_is_an_array_of_lines(tiny_scene: he.Scene, model: he.Model) -> None:
    lines = he.LineClassifier(model, 30)
    with pytest.raises(he.errors.ModelError, match=r"one line is line\[None\]"):
        lines.push(tiny_scene.cube[0])
    assert lines.push(tiny_scene.cube[0][None]).shape == (0, 30)
    assert repr(lines) == f"LineClassifier({str(model.path)!r}, 30 pixels a line, 1 lines taken)"


def test_a_map_of_a_scene_without_a_file_has_its_name(tiny_scene: he.Scene, model: he.Model, tmp_path: Path) -> None:
    assert model.classify(dataclasses.replace(tiny_scene, source=str(tmp_path))).source == Path("tiny")


def test_a_cube_smaller_than_the_patch_is_named(tiny_scene: he.Scene, model: he.Model, tmp_path: Path) -> None:
    np.save(tmp_path / "narrow.npy", tiny_scene.cube[:, :2])
    with pytest.raises(he.errors.SceneError, match=r"^patch 3 is wider than narrow\.npy \(40 x 2 pixels\)$"):
        model.classify(tmp_path / "narrow.npy")


def test_another_scenes_split_is_not_evaluated_on(tiny_scene: he.Scene, model: he.Model) -> None:
    other = dataclasses.replace(tiny_scene, name="other", labels=tiny_scene.labelled()[::-1])
    with pytest.raises(he.errors.SplitError, match="a split of other was drawn on other labels than tiny has"):
        he.evaluate(model, tiny_scene, other.split())
