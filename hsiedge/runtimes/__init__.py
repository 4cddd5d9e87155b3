"""Runtimes: one adapter for each inference engine. `load` opens a model file; `read_card` only its Card."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from hsiedge.card import KEY, MAX_CHARS, Card
from hsiedge.card_packing import PREFIX
from hsiedge.device import int8
from hsiedge.errors import CardError, MissingExtraError, ModelError, OptionError
from hsiedge.native.library import is_available, kernel_sets
from hsiedge.registry import Registry, instance_of
from hsiedge.runtimes import seal
from hsiedge.runtimes.c_file import read_c_file
from hsiedge.runtimes.model import Model, Session, TensorSpec, no_card
from hsiedge.runtimes.onnx_file import read_onnx_file
from hsiedge.runtimes.tflite_file import read_tflite_file


@dataclass(frozen=True)
class Engine:
    """An inference engine.

    Attributes:
        title: its own name.
        suffixes: of the files that it runs.
        home: the module with its `open_session(path, threads)`, a `Session`, and for files of no format of ours
            `read_metadata(path)`, their texts by name; `__name__` in a user's own file. Known by name, for PyTorch's lies above
            this one, beside the nets.
        needs: what it imports of its package.
        extra: of hsiedge, which brings the package; "" where it always is there.
        exact_mode: whether 8-bit sums overflow in it on some processors unless it takes more time; `open_session` then takes
            `fast_int8`, to do without.
        takes_nets: whether it runs checkpoints; `open_session` then takes `net`, FILE.py:NAME of one's own.
        is_built: whether what it needs beside its package is here.
        takes: whether it runs a file of its suffixes, where it does not run all of them.
        is_for_here: whether this machine is what it is meant for: others are run where they are named, and never recommended.
    """

    title: str
    suffixes: tuple[str, ...]
    home: str
    needs: str
    extra: str = ""
    exact_mode: bool = False
    takes_nets: bool = False
    is_built: Callable[[], bool] = lambda: True
    takes: Callable[[Path], bool] = lambda path: True
    is_for_here: bool = True

    @property
    def installed(self) -> bool:
        """Whether the engine's package is installed; it is not imported."""
        return importlib.util.find_spec(self.needs.partition(".")[0]) is not None and self.is_built()


def _native_takes(path: Path) -> bool:
    """Whether the native engine computes each node of a file."""
    from hsiedge.runtimes.native_graph import lower

    try:
        lower(path, require_card(path))
    except (CardError, ModelError):
        return False
    return True


_NATIVE = Engine(
    "hsiedge native",
    (".onnx",),
    "hsiedge.runtimes.native",
    "hsiedge.native.library",
    is_built=is_available,
    takes=_native_takes,
)
ENGINES: Registry[Engine] = Registry(
    "hsiedge.runtimes",
    "runtime",
    {
        "ort": Engine("onnxruntime", (".onnx", ".ort"), "hsiedge.runtimes.ort", "onnxruntime", exact_mode=True),
        "native": _NATIVE,
        "litert": Engine("LiteRT", (".tflite",), "hsiedge.runtimes.litert", "ai_edge_litert.interpreter", "litert"),
        "tflm": Engine("TFLite Micro", (".tflite",), "hsiedge.runtimes.tflm", "tflite_micro", "tflm", is_for_here=False),
        "openvino": Engine("OpenVINO", (".onnx",), "hsiedge.runtimes.openvino", "openvino", "openvino", True),
        "torch": Engine("PyTorch", (".safetensors",), "hsiedge.training.torch_runtime", "torch", "train", takes_nets=True),
    },
    instance_of(Engine),
)
"""Inference engines by what `--runtime` calls them; a file is run by the first that takes it, unless another is asked for."""
SUFFIXES = (*ENGINES["ort"].suffixes, *ENGINES["litert"].suffixes)
"""Of the files that are run unasked: a checkpoint is only by --runtime torch, lest a board imports torch."""

ALLOW_MODIFIED = "HSIEDGE_ALLOW_MODIFIED"
"""Variable of the environment that lets modified files pass."""
_allowed: ContextVar[bool] = ContextVar("allow_modified", default=False)

__all__ = [
    "ENGINES",
    "SUFFIXES",
    "Engine",
    "Model",
    "Session",
    "TensorSpec",
    "check_engine",
    "check_intact",
    "engine_for_rows",
    "engine_of",
    "import_engine",
    "load",
    "load_for_rows",
    "read_card",
    "require_card",
]


def load(
    path: str | Path,
    threads: int = 0,
    runtime: str | None = None,
    provider: str | None = None,
    *,
    fast_int8: bool = False,
    net: str | None = None,
    allow_modified: bool = False,
) -> Model:
    """Opens a model file in an inference engine, and reads its Card.

    Arguments and errors are those of `hsiedge.load`. A checkpoint is a patch graph in the engine "torch". No provider takes
    unsaid a node that none of those asked for takes.

    Args:
        allow_modified: open a file that is no longer as it was written, by the digest in it; else that is a ModelError.
    """
    path = Path(path)
    if threads < 0:
        raise OptionError("0 or more was expected", option="threads", value=threads)
    name = engine_of(path, runtime, provider)
    engine = ENGINES[name]
    if fast_int8 and not engine.exact_mode:
        raise OptionError(f"{engine.title} has no exact mode to do without", option="fast_int8")
    if net is not None and not engine.takes_nets:
        raise OptionError(f"{engine.title} runs no checkpoints, and only these need a net", option="net", value=net)
    home = _import(path, name)
    with _allowing(allow_modified):
        check_intact(path)
        if name == "ort":
            from hsiedge.runtimes.ort import OrtSession

            session = OrtSession(path, threads, provider="cpu" if provider is None else provider, fast_int8=fast_int8)
            model = Model(path, session, _card(session.metadata.get(KEY), path), runtime, provider, fast_int8)
            _check_ort_file(model)
            return model
        options: dict[str, object] = {"fast_int8": fast_int8} if engine.exact_mode else {}
        options |= {"net": net} if engine.takes_nets else {}
        opened: Session = home.open_session(path, threads, **options)
        card = read_card(path)
        if card is not None and card.kind == "checkpoint":
            card = replace(card, kind="patch")
        return Model(path, opened, card, runtime, fast_int8=fast_int8, net=net)


@contextmanager
def _allowing(modified: bool) -> Iterator[None]:
    """Lets modified files pass `check_intact` inside the block, if they may."""
    token = _allowed.set(modified)
    try:
        yield
    finally:
        _allowed.reset(token)


def _check_ort_file(model: Model) -> None:
    """Warns of an INT8 file in ORT format whose 8-bit sums overflow here: what was optimized beforehand, no mode mends."""
    card = model.card
    if not int8.overflows_here() or model.path.suffix != ".ort" or card is None or card.quantization is None:
        return
    if card.precision != "int8" or card.quantization.options.get("seven_bit_weights") or _was_made_exact(card):
        return
    model.session.overflows = True
    if not model.fast_int8:
        warnings.warn(
            f"{model.path}: made where 8-bit sums do not overflow, and they do on this processor: labels may differ from those "
            "of others; export it anew from its ONNX here",
            stacklevel=3,
        )


def _was_made_exact(card: Card) -> bool:
    return any(step.step == "ort" and step.options.get("exact_int8") is True for step in card.lineage)


def import_engine(path: Path, runtime: str | None = None) -> types.ModuleType:
    """Imports the engine that runs a file, so that what comes after is the model's; the module with its `open_session`.

    Raises:
        MissingExtraError: its package is not installed.
        OptionError: another package's engine that cannot be imported.
    """
    return _import(path, engine_of(path, runtime))


def _import(path: Path, name: str) -> types.ModuleType:
    engine = ENGINES[name]
    try:
        importlib.import_module(engine.needs)
        return importlib.import_module(engine.home)
    except ImportError as error:
        if not engine.extra:
            alone = "; without it INT8 scene graphs run, in the native engine" if name == "ort" and is_available() else ""
            raise OptionError(f"{engine.title} cannot be imported ({error}){alone}", option="runtime", value=name) from error
        raise MissingExtraError(f"running {path.name} in {engine.title}", engine.extra) from error


def engine_of(path: Path, runtime: str | None = None, provider: str | None = None) -> str:
    """Name of the engine that runs a file: `runtime`, or by default the first that takes it unasked.

    That is "native" in the place of an onnxruntime that is not installed, for the INT8 scene graphs that it takes.

    Raises:
        ModelError: no such file, or no engine takes it.
        OptionError: see `check_engine`.
    """
    check_engine(runtime, path, provider)
    check_is_file(path)
    if runtime is not None:
        return ENGINES.name_of(runtime)
    _check_suffix(path)
    first = next(name for name, engine in ENGINES.items() if path.suffix in engine.suffixes)
    return "native" if first == "ort" and provider is None and _runs_alone(path) else first


def _runs_alone(path: Path) -> bool:
    """Whether the native engine runs a file where onnxruntime, which would, is not installed: it has no 32-bit wheels."""
    native = ENGINES["native"]
    return path.suffix in native.suffixes and not ENGINES["ort"].installed and native.installed and native.takes(path)


NATIVE_FIRST = {
    "avx512vnni": ("cnn1d", "cnn2d", "cnn3d", "dscnn", "hybridsn", "mlp"),
    "avx2": ("cnn2d", "dscnn", "hybridsn", "mlp"),
}
"""Nets whose rows the native engine labels in less time than any other, by its kernel set: as bar 7 of `benchmarks/peers.py`
measured on a processor that has no better one, beside onnxruntime and LiteRT, on the whole of Indian Pines."""


def engine_for_rows(path: Path, runtime: str | None, provider: str | None, *, fast_int8: bool = False) -> str | None:
    """Name of the engine for rows as they come: the one asked for; else "native", for nets that it is measured to label faster.

    Returns:
        None where the file is run by the first engine that takes it, as `load` does. A processor with AMX, on which
        onnxruntime has kernels that the native engine has not, is one.
    """
    if runtime is not None or provider is not None or fast_int8 or path.suffix != ".onnx" or not is_available():
        return runtime
    card = read_card(path) if path.is_file() else None
    if card is None or card.net is None or card.net.origin is not None or card.kind != "scene" or card.input_affine is None:
        return None
    fast = card.net.name in NATIVE_FIRST.get(kernel_sets()[0], ()) and not int8.has_amx_here()
    return "native" if fast and ENGINES["native"].takes(path) else None


def load_for_rows(path: str | Path) -> Model:
    """Opens a model file in the engine that labels rows as they come in the least time: see `engine_for_rows`, `load`."""
    return load(path, runtime=engine_for_rows(Path(path), None, None))


def check_engine(runtime: str | None, path: Path | None = None, provider: str | None = None) -> None:
    """Raises OptionError unless there is such an engine (None: whichever runs the file), and it runs the file.

    A `provider` is onnxruntime's own; any other engine for it is an error, too.
    """
    if runtime is not None and ".py:" not in runtime and runtime not in ENGINES:
        raise OptionError(f"choose {', '.join(ENGINES)}", option="runtime", value=runtime)
    engine = ENGINES["ort"] if runtime is None else ENGINES.find(runtime)
    if path is not None and runtime is not None and path.suffix not in engine.suffixes:
        raise OptionError(f"runs {' and '.join(engine.suffixes)} files, not {path}", option="runtime", value=runtime)
    if provider is not None and (runtime not in (None, "ort") or (path is not None and path.suffix not in engine.suffixes)):
        other = runtime or f"what runs {path}"
        raise OptionError(f"onnxruntime has providers, {other} has none", option="provider", value=provider)


def read_card(path: str | Path) -> Card | None:
    """The Card in a checkpoint, ONNX, ORT or TFLite file; None where there is none.

    Raises:
        ModelError: not a file of these kinds, or modified since it was written.
        CardError: a Card that cannot be read.
    """
    check_intact(Path(path))
    return _card(_card_text(Path(path)), Path(path))


def check_intact(path: Path) -> None:
    """Raises ModelError where a file is not as it was written, by the digest in it; a file without one passes.

    A Card in plain JSON was put there by other than hsiedge, on purpose: then it is a warning. $HSIEDGE_ALLOW_MODIFIED, which
    `--allow-modified` sets, lets every file pass, in processes that are started, too.
    """
    try:
        intact = seal.holds(path) is not False
    except (OSError, ValueError):
        return  # it cannot be read: whoever reads it says why
    if intact or _allowed.get() or os.environ.get(ALLOW_MODIFIED):
        return
    text = None if path.suffix == ".ort" else _card_text(path)  # that of an ORT file is onnxruntime's to read
    if text is None or text.startswith(PREFIX):
        raise ModelError(
            f"{path}: its digest does not match: it was damaged or modified after it was written", use={"allow_modified": ""}
        )
    warnings.warn(f"{path}: its Card is not the one that it was written with, and its digest no longer holds", stacklevel=3)


def _card_text(path: Path) -> str | None:
    """Text of the Card in a file."""
    if path.suffix == ".safetensors":
        return _safetensors_metadata(path).get(KEY)
    if path.suffix == ".c":
        return read_c_file(path)
    _check_suffix(path)
    if path.suffix == ".onnx":
        return read_onnx_file(path).metadata.get(KEY)
    if path.suffix == ".tflite":
        return read_tflite_file(path)
    home = _import(path, next(name for name, engine in ENGINES.items() if path.suffix in engine.suffixes))
    metadata: dict[str, str] = home.read_metadata(path) if hasattr(home, "read_metadata") else {}
    return metadata.get(KEY)


def _theirs() -> Iterator[Engine]:
    """Engines that are not ours: what they run is run unasked, as long as none of ours takes it."""
    return (engine for name, engine in ENGINES.items() if ENGINES.origin(name) is not None)


def _card(text: str | None, path: Path) -> Card | None:
    return Card.decode(text, str(path)) if text is not None else None


def require_card(path: Path) -> Card:
    """The Card in a file. Raises CardError where there is none."""
    card = read_card(path)
    if card is None:
        raise no_card(path)
    return card


def _safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors header: 8 bytes of length, little-endian, then that much JSON. No tensor is read."""
    wrong = ModelError(f"{path}: not a safetensors file; hsiedge reads no pickled checkpoints")
    check_is_file(path)
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


def check_is_model(path: Path, cubes: Sequence[Path]) -> None:
    """Raises ModelError where a model was named among the cubes, and a cube in its place."""
    if path.suffix not in SUFFIXES and any(cube.suffix in SUFFIXES for cube in cubes):
        raise ModelError(f"{path}: not a model; the model comes first", run=("classify", "MODEL", "CUBE"))


def check_is_file(path: Path) -> None:
    """Raises ModelError where there is no file, or a folder in its place."""
    if not path.is_file():
        raise ModelError(f"{path}: a folder; a file is expected" if path.is_dir() else f"{path}: no such file")


def _check_suffix(path: Path) -> None:
    check_is_file(path)
    if path.suffix not in SUFFIXES and not any(path.suffix in engine.suffixes for engine in _theirs()):
        hint, use = "", {}
        if path.suffix in ENGINES["torch"].suffixes:
            hint, use = "; a checkpoint is exported first (hsiedge export), or run by PyTorch", {"runtime": "torch"}
        elif path.suffix == ".npz":
            hint, use = "; it may be a packed scene", {"scene": str(path)}
        raise ModelError(f"{path}: not a model that hsiedge runs ({', '.join(SUFFIXES)}){hint}", use=use)
