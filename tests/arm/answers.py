"""What models answer, on every processor. Answers for the shipped ones are stored:

    python -m tests.arm.answers       # writes expected.json, after the shipped models have changed

Of INT8 models, every integer tensor counts, layer by layer, down to the one before the float tail. Bits are compared there; in
the float tail, and in float models, differences as a share of the logits' range.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.graphs.onnx_io import read_onnx
from hsiedge.runtimes import require_card
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.scene import Scene

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
MODELS = HERE.parents[1] / "models"
SIDE, PLACE = 8, (13, 23)  # the square of Indian Pines with the most classes, and where it begins
Answers = Mapping[str, NDArray[Any]]


def shipped() -> list[Path]:
    """All models in models/, of whatever runtime."""
    return sorted(path for path in MODELS.iterdir() if path.suffix in (".onnx", ".ort", ".tflite"))


def rows(scene: Scene, radius: int) -> NDArray[Any]:
    """The square with its halo, `(SIDE + 2 radius, SIDE + 2 radius, bands)`; a net that looks less far labels more of it."""
    first, last = (np.array(PLACE) - radius, np.array(PLACE) + SIDE + radius)
    return np.ascontiguousarray(scene.cube[first[0] : last[0], first[1] : last[1]])


def lay_out(models: Sequence[Path], folder: Path) -> list[str]:
    """Puts rows.npy, the models, and beside INT8 ones NAME.integers.onnx into a folder; gives the models' names."""
    radius = max(require_card(path).radius for path in models)
    np.save(folder / "rows.npy", rows(open_scene("indian_pines"), radius))
    for path in models:
        (folder / path.name).write_bytes(path.read_bytes())
        card = require_card(path)
        if path.suffix == ".onnx" and card.quantization is not None and card.input_affine is not None:
            (folder / f"{path.name}.integers.onnx").write_bytes(with_integers(path).SerializeToString())
    return [path.name for path in models]


def with_integers(path: Path) -> Any:
    """The graph, giving also what each QuantizeLinear makes."""
    from onnx import helper

    model = read_onnx(path)
    zero_points = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            model.graph.output.append(helper.make_tensor_value_info(node.output[0], zero_points[node.input[2]], None))
    return model


def answered_here(
    names: Sequence[str], folder: Path, emulator: Callable[..., list[str]] = lambda *words: [*map(str, words)], *flags: str
) -> Answers:
    """What the models in `folder` answer on this machine, or in an emulator of another x86 (`tests.x86_without_vnni`)."""
    out = folder / "answers-here.npz"
    models = [folder / name for name in names]
    command = emulator(sys.executable, HERE / "guest" / "answers.py", *flags, folder / "rows.npy", out, *models)
    subprocess.run(command, check=True, cwd=HERE.parents[1], stderr=subprocess.DEVNULL if flags else None)
    return read(out)


def read(path: Path) -> Answers:
    with np.load(path) as stored:
        return dict(stored)


def integers_of(answers: Answers, name: str) -> dict[str, str]:
    """Digests of a model's integer tensors."""
    start = f"{name} integers "
    outputs = {key.removeprefix(start): values for key, values in answers.items() if key.startswith(start)}
    return {
        tensor: hashlib.sha256(f"{values.dtype} {values.shape}".encode() + values.tobytes()).hexdigest()[:16]
        for tensor, values in outputs.items()
    }


def main() -> None:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        names = lay_out(shipped(), Path(folder))
        answers = answered_here(names, Path(folder))
    expected = {
        path.name: {
            "sha256": files.digest(path),
            "integers": integers_of(answers, path.name),
            "labels": answers[f"{path.name} labels"].ravel().tolist(),
            "logits": [float(str(value)) for value in answers[f"{path.name} logits"].ravel()],
        }
        for path in shipped()
    }
    EXPECTED.write_text(json.dumps({"onnxruntime": onnxruntime.__version__, "models": expected}) + "\n")
    for name, entry in expected.items():
        print(f"{name}: {len(entry['integers'])} integer tensors, {np.unique(entry['labels']).size} classes")


if __name__ == "__main__":
    main()
