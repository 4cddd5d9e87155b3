"""Runtimes: one adapter for each inference engine. `load` opens a model file; `read_card` only its Card."""

from __future__ import annotations

import json
from pathlib import Path

from hsiedge.card import KEY, MAX_CHARS, Card
from hsiedge.errors import CardError, MissingExtraError, ModelError, OptionError
from hsiedge.runtimes.base import Model, Session, TensorSpec
from hsiedge.runtimes.onnx_file import read_onnx_file
from hsiedge.runtimes.tflite_file import read_tflite_file

ENGINES: dict[str, tuple[str, ...]] = {"ort": (".onnx", ".ort"), "litert": (".tflite",)}
"""Inference engines, and the files that each runs."""
SUFFIXES = tuple(suffix for suffixes in ENGINES.values() for suffix in suffixes)

__all__ = [
    "ENGINES",
    "SUFFIXES",
    "Model",
    "Session",
    "TensorSpec",
    "check_engine",
    "import_engine",
    "load",
    "read_card",
    "require_card",
]


def load(path: str | Path, threads: int = 0) -> Model:
    """Opens an ONNX or ORT model with onnxruntime, a TFLite one with LiteRT, and reads its Card.

    Args:
        path: the model file.
        threads: intra-operator threads; 0 leaves the choice to the runtime.

    Raises:
        ModelError: not a model file, or the runtime does not load it.
        CardError: it carries a Card that cannot be read.
        MissingExtraError: LiteRT is not installed.
    """
    path = Path(path)
    _check_suffix(path)
    import_engine(path)
    if path.suffix in ENGINES["litert"]:
        from hsiedge.runtimes.litert import LitertSession

        return Model(path, LitertSession(path, threads), _card(read_tflite_file(path), path))
    from hsiedge.runtimes.ort import OrtSession

    session = OrtSession(path, threads)
    return Model(path, session, _card(session.metadata.get(KEY), path))


def import_engine(path: Path) -> None:
    """Imports the engine that runs a file, so that what comes after is the model's. Raises MissingExtraError."""
    if path.suffix in ENGINES["litert"]:
        try:
            import ai_edge_litert.interpreter  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(f"running {path.name}", "litert") from error
    else:
        import hsiedge.runtimes.ort  # noqa: F401


def check_engine(runtime: str | None, path: Path | None = None) -> None:
    """Raises OptionError unless there is such an engine (None: whichever runs the file), and it runs the file."""
    if runtime is None:
        return
    if runtime not in ENGINES:
        raise OptionError(f"--runtime {runtime}: choose {' or '.join(ENGINES)}")
    if path is not None and path.suffix not in ENGINES[runtime]:
        raise OptionError(f"--runtime {runtime} runs {' and '.join(ENGINES[runtime])} files, not {path}")


def read_card(path: str | Path) -> Card | None:
    """The Card in a checkpoint, ONNX, ORT or TFLite file; None where there is none.

    Raises:
        ModelError: not a file of these kinds.
        CardError: a Card that cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        text = _safetensors_metadata(path).get(KEY)
    elif path.suffix == ".onnx":
        _check_suffix(path)
        text = read_onnx_file(path).metadata.get(KEY)
    elif path.suffix == ".tflite":
        _check_suffix(path)
        text = read_tflite_file(path)
    else:
        _check_suffix(path)
        from hsiedge.runtimes.ort import read_metadata

        text = read_metadata(path).get(KEY)
    return _card(text, path)


def _card(text: str | None, path: Path) -> Card | None:
    return Card.decode(text, str(path)) if text is not None else None


def require_card(path: Path) -> Card:
    """The Card in a file. Raises CardError where there is none."""
    card = read_card(path)
    if card is None:
        raise CardError(f"{path}: has no Card; write one in with: hsiedge card {path} --scene NAME --patch P")
    return card


def _safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors header: 8 bytes of length, little-endian, then that much JSON. No tensor is read."""
    wrong = ModelError(f"{path}: not a safetensors file; hsiedge reads no pickled checkpoints")
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= 4 * MAX_CHARS or length + 8 > path.stat().st_size:
            raise wrong
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise wrong from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not isinstance(metadata, dict):
        raise wrong
    return {str(key): value for key, value in metadata.items() if isinstance(value, str)}


def _check_suffix(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix not in SUFFIXES:
        scene = "; it may be a packed scene: give it with --scene" if path.suffix == ".npz" else ""
        raise ModelError(f"{path}: not a model that hsiedge runs ({', '.join(SUFFIXES)}){scene}")
