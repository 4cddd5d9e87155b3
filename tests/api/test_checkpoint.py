"""Checkpoints: trained, saved, opened, and made into other things, each with its own scene and split."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

import hsiedge as he
from hsiedge import files


@pytest.fixture(scope="module")
def once_trained() -> he.Checkpoint:
    """A small net, trained briefly on a scene of four square fields."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(np.arange(1, 5, dtype=np.uint16).reshape(2, 2), 15, 0), 15, 1)
    counts = (labels[..., None] * np.array([100, 200, 400, 150, 50]) + rng.integers(0, 90, (30, 30, 5))).astype(np.uint16)
    scene = he.Scene("fields", counts, labels, {label: f"field {label}" for label in range(1, 5)})
    return he.train(scene, scene.split(train=0.2), net="cnn2d", patch=5, epochs=3, widths=(8, 8, 8))


@pytest.fixture
def trained(once_trained: he.Checkpoint) -> he.Checkpoint:
    """The same, for a test that may save it."""
    return copy.copy(once_trained)


def test_an_unsaved_checkpoint_is_no_file(trained: he.Checkpoint) -> None:
    with pytest.raises(he.errors.ModelError, match=r"not saved yet.*checkpoint\.save\(path\)"):
        he.bench(trained, runtime="torch")
    assert "not saved, cnn2d of fields, OA" in repr(trained)


def test_saved_and_opened_again(trained: he.Checkpoint, tmp_path: Path) -> None:
    saved = trained.save(tmp_path / "a.safetensors")
    opened = he.Checkpoint.open(tmp_path / "a.safetensors")
    assert opened.card.to_json() == saved.card.to_json()
    for name, tensor in saved.classifier.state_dict().items():
        assert (opened.classifier.state_dict()[name] == tensor).all(), name
    assert he.load(opened, runtime="torch").known.patch == 5
    with pytest.raises(he.errors.OptionError, match=r"written as \.safetensors"):
        trained.save(tmp_path / "a.pt")
    with pytest.raises(he.errors.SceneError, match="made on fields, which is not in the catalog"):
        opened.export(tmp_path / "a.onnx")


def test_exported_quantized_and_evaluated_on_its_own_scene(trained: he.Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="exporting needs onnx")
    trained.save(tmp_path / "a.safetensors")
    model = trained.export(tmp_path / "a.onnx")
    assert model.known.lineage[-1].parent == files.digest(tmp_path / "a.safetensors")
    whole = model.to_scene_graph()
    assert whole.path == tmp_path / "a-scene.onnx"
    int8 = whole.quantize(max_drop=100)
    assert (int8.path, int8.known.precision) == (tmp_path / "a-scene-int8.onnx", "int8")
    assert int8.evaluate().n == model.evaluate().n == trained.card.split.test
    assert model.to_ort().path == tmp_path / "a.ort"
    card = he.quantize(
        model.path, model.own_scene, tmp_path / "b.onnx", recipe=he.Recipe("ARM, and x86 with VNNI or AMX"), max_drop=100
    )
    assert card.quantization.recipe == "default"
    mine = model.quantize(path=tmp_path / "c.onnx", recipe=he.Recipe("mine", seven_bit_weights=True), max_drop=100).known
    assert (mine.quantization.recipe, mine.quantization.options["seven_bit_weights"]) == ("mine", True)
    with pytest.raises(he.errors.OptionError, match="mine: weights 'int5': choose int8 or float16"):
        model.quantize(recipe=he.Recipe("mine", weights="int5"))


def test_made_smaller_on_its_own_scene_and_split(trained: he.Checkpoint, tmp_path: Path) -> None:
    pruned = trained.prune(ratio=0.25, epochs=1)
    assert pruned.card.net.parameters < trained.card.net.parameters
    sparse = trained.prune(method="magnitude", ratio=0.5, epochs=1)
    assert sparse.card.lineage[-1].options["zeros"] > 0
    student = pruned.distill("dscnn", epochs=1, widths=(4, 8, 8))
    assert [step.step for step in student.card.lineage] == ["train", "prune", "distill"]
    assert student.card.split == trained.card.split
    with pytest.raises(he.errors.OptionError, match="criterion: goes with structured pruning"):
        trained.prune(method="magnitude", criterion="l2")
    with pytest.raises(he.errors.ModelError, match="its test pixels would be trained on"):
        trained.prune(split=trained.export(tmp_path / "a.onnx").own_scene.split(seed=9))


def test_quantization_aware_training_writes_both_files(trained: he.Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="qat needs onnx")
    model = trained.qat(tmp_path / "q.onnx", epochs=1, checkpoint=tmp_path / "q.safetensors")
    assert model.known.quantization.recipe == "qat"
    assert "control_oa" in model.known.lineage[-1].options
    assert he.Checkpoint.open(tmp_path / "q.safetensors").card.lineage[-1].step == "qat"
    assert model.evaluate().n == trained.card.split.test


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sizes": (8,)}, "sizes: no option is called so; cnn2d takes widths"),
        ({"seed": 0}, "seed: no option is called so; the split's seed is that of training, too: scene.split(seed=...)"),
        ({"output": "a"}, "output: no option is called so; a checkpoint writes itself: checkpoint.save(path)"),
    ],
)
def test_an_option_that_no_net_takes_is_named(tiny_scene: he.Scene, options: dict[str, object], says: str) -> None:
    with pytest.raises(he.errors.OptionError) as caught:
        he.train(tiny_scene, **options)
    assert str(caught.value) == says


def test_a_model_is_written_as_onnx(trained: he.Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(he.errors.OptionError, match=r"a model is written as \.onnx"):
        trained.export(tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []
