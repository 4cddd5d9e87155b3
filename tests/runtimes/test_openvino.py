"""ONNX files in OpenVINO beside onnxruntime: the same file, the same labels."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hsiedge.errors import MissingExtraError, ModelError
from hsiedge.runtimes import load
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.synthetic import draw_rows
from hsiedge.shipped import shipped

STORED = Path(__file__).parents[1] / "benchmark" / "data"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"running float\.onnx in OpenVINO needs .* 'hsiedge\[openvino\]'"):
        load(STORED / "float.onnx", runtime="openvino")


class TestSession:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("openvino", reason="OpenVINO runs these, and is not installed")

    def test_labels_are_those_of_onnxruntime(self, tiny_scene: Scene) -> None:
        pixels = np.arange(1200)
        for name in ("float.onnx", "int8.onnx"):
            ours, theirs = load(STORED / name, 1, "openvino"), load(STORED / name, 1)
            assert ours.session.runtime.startswith("OpenVINO 20")
            assert (ours.session.provider, ours.runtime, theirs.runtime) == ("CPU", "openvino", None)
            assert [(spec.shape, spec.dtype) for spec in ours.session.inputs] == [
                (spec.shape, spec.dtype) for spec in theirs.session.inputs
            ]
            labels = ours.predict(tiny_scene, pixels)
            np.testing.assert_array_equal(labels, theirs.predict(tiny_scene, pixels))
            assert len(np.unique(labels)) > 1

    @pytest.mark.parametrize(("suffix", "limit"), [(".onnx", 1e-5), ("-int8.onnx", 0.01), ("-int8-scene.onnx", 0.01)])
    def test_the_shipped_models(self, suffix: str, limit: float) -> None:
        """Floats are float32, whatever the CPU has; integers of eight bits differ by a step or two."""
        ours, theirs = load(shipped(suffix), 1, "openvino"), load(shipped(suffix), 1)
        rows = draw_rows(theirs.known.scene, (20, 30), np.random.default_rng(0))
        output, expected = ours.strip(ours.prepare(rows)), theirs.strip(theirs.prepare(rows))
        spread = float(np.ptp(expected))
        np.testing.assert_allclose(output, expected, rtol=0, atol=limit * spread)
        sure = np.diff(np.sort(expected, axis=0)[-2:], axis=0)[0] > limit * spread
        assert sure.mean() > 0.8
        np.testing.assert_array_equal(output.argmax(0)[sure], expected.argmax(0)[sure])

    def test_a_signal_after_two_sessions_does_not_crash(self) -> None:
        """A stack for signals that OpenVINO gave back while it was in use ended the process, by no exception."""
        lines = f"""
            import signal
            from pathlib import Path
            from hsiedge.runtimes.openvino import OpenvinoSession
            first, second = (OpenvinoSession(Path({str(STORED / "float.onnx")!r}), 1) for _ in range(2))
            del first
            del second
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                print("interrupted")
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(lines)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr

    def test_any_number_of_patches_one_after_the_other(self) -> None:
        session, other = load(STORED / "float.onnx", 1, "openvino").session, load(STORED / "float.onnx", 1).session
        for count in (1, 5, 2, 2):
            patches = np.arange(count * 45, dtype=np.uint16).reshape(count, 5, 3, 3)
            np.testing.assert_allclose(session.run([patches]), other.run([patches]), rtol=1e-4, atol=1e-3)

    def test_what_a_run_gave_stays(self) -> None:
        session = load(STORED / "float.onnx", 1, "openvino").session
        patches = np.arange(45, dtype=np.uint16).reshape(1, 5, 3, 3)
        first = session.run([patches])
        kept = first.copy()
        session.run([patches[:, ::-1]])
        np.testing.assert_array_equal(first, kept)

    def test_tensors_that_do_not_fit(self) -> None:
        model = load(STORED / "float.onnx", runtime="openvino")
        for patches in (np.zeros((2, 5, 3, 3), np.float32), np.zeros((2, 4, 3, 3), np.uint16), np.zeros((2, 5, 3), np.uint16)):
            with pytest.raises(ModelError, match="OpenVINO could not run the model: ") as caught:
                model.logits(patches)
            assert "\n" not in str(caught.value)
        assert model.logits(np.zeros((2, 5, 3, 3), np.uint16)).shape == (2, 4)  # it goes on

    @pytest.mark.parametrize("length", [1, 50, 300])
    def test_a_broken_file_is_one_line(self, length: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "a.onnx"
        path.write_bytes((STORED / "float.onnx").read_bytes()[:length])
        with pytest.raises(ModelError, match=r"OpenVINO .* does not load it|not an ONNX file, or cut short") as caught:
            load(path, runtime="openvino")
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_an_operator_that_nobody_knows_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.onnx"
        path.write_bytes((STORED / "float.onnx").read_bytes().replace(b"Conv", b"Corn"))
        with pytest.raises(ModelError, match=r"a\.onnx: OpenVINO .* does not load it: .*Corn"):
            load(path, runtime="openvino")

    def test_weights_in_other_files_are_not_followed(self, tmp_path: Path) -> None:
        onnx = pytest.importorskip("onnx", reason="onnx writes the file, and is not installed")
        model = onnx.load(str(STORED / "float.onnx"))
        onnx.save(model, str(tmp_path / "a.onnx"), save_as_external_data=True, size_threshold=0, location="weights")
        with pytest.raises(ModelError, match="keeps its weights in other files"):
            load(tmp_path / "a.onnx", runtime="openvino")
