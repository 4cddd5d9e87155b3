"""A checkpoint in PyTorch, behind the protocol of the runtimes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch runs checkpoints")

from hsiedge.errors import CardError, MissingExtraError, ModelError, OptionError
from hsiedge.runtimes import load
from hsiedge.scenes.patches import extract
from hsiedge.scenes.scene import Scene
from hsiedge.shipped import shipped
from tests import workstation


def test_it_gives_what_its_export_gives() -> None:
    ours, theirs = load(shipped(".safetensors"), 1, "torch"), load(shipped(".onnx"), 1)
    assert ours.session.runtime.startswith("PyTorch 2")
    assert (ours.known.kind, ours.session.provider) == ("patch", "CPU")
    assert ours.session.inputs[0].shape == (None, 200, 13, 13)
    patches = extract(workstation.scene().cube, np.arange(0, 21025, 401), 13)
    logits, expected = ours.logits(patches), theirs.logits(patches)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.ptp(expected))
    np.testing.assert_array_equal(ours.labels(patches), theirs.labels(patches))


def test_only_where_it_is_asked_for() -> None:
    with pytest.raises(ModelError, match=r"exported first \(hsiedge export\), or run by PyTorch; use runtime=torch"):
        load(shipped(".safetensors"))
    with pytest.raises(OptionError, match=r"runtime=torch: runs \.safetensors files, not .*\.onnx"):
        load(shipped(".onnx"), runtime="torch")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"in PyTorch needs .* 'hsiedge\[train\]'"):
        load(shipped(".safetensors"), runtime="torch")


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match="no such file"):
        load(path, runtime="torch")
    path.write_bytes(b"garbage")
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(path, runtime="torch")
    save_file({"w": np.zeros(3)}, str(path))
    with pytest.raises(CardError, match="has no Card"):
        load(path, runtime="torch")


def test_tensors_that_do_not_fit(tiny_scene: Scene) -> None:
    model = load(shipped(".safetensors"), runtime="torch")
    with pytest.raises(ModelError, match="PyTorch could not run") as caught:
        model.logits(extract(tiny_scene.cube, np.arange(3), 13))
    assert "\n" not in str(caught.value)
