"""The operators and types of a model: what a reduced build of its runtime must hold.

onnxruntime's own tools read them (`onnxruntime.tools.ort_format_model`, what create_reduced_build_config.py was), and they read
ORT format: a reduced build loads no other. So an ONNX file is saved in that format first, in a temporary folder, by
onnxruntime itself. Needs no onnx.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hsiedge import files
from hsiedge.errors import MissingExtraError, ModelError, OptionError, needs_extra
from hsiedge.quiet import quiet
from hsiedge.runtimes import check_is_file, import_engine, load
from hsiedge.runtimes.onnx_file import check_whole

SCHEMA = 1
_ENTRY = re.compile(r"(\w+)(\{)?")


@dataclass(frozen=True)
class Operator:
    """An operator type of one version.

    Attributes:
        domain: "ai.onnx", "com.microsoft" (onnxruntime's own), "tflite".
        version: of the operator set that the kernel comes from; of TFLite, the operator's.
        types: what a build with type reduction keeps, as onnxruntime writes it: {"inputs": {"0": ["float"]}}; {} where the
            operator is kept for all its types. Of TFLite, the types that occur at each input and output.
        builtin: whether the runtime has it by itself, and needs no custom kernel.
    """

    name: str
    domain: str
    version: int
    types: dict[str, Any] = field(default_factory=dict)
    builtin: bool = True


@dataclass(frozen=True)
class Operators:
    """Operators of one model file, as it is and as it runs.

    Attributes:
        as_it_is: of the file.
        as_it_runs: after onnxruntime's optimizations, which fuse integer layers into operators of its own: what a build for the
            optimized model in ORT format needs. That of an .ort or .tflite file is the file itself.
        arena_bytes: of a .tflite file, memory that it takes in TFLite Micro; None where that does not run it here.
        config: lines for `build.py --include_ops_by_config FILE --enable_reduced_operator_type_support`, of both; "" of TFLite.
    """

    model: str
    as_it_is: list[Operator]
    as_it_runs: list[Operator]
    config: str
    schema: int = SCHEMA
    arena_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `schema` first."""
        plain = asdict(self)
        return {"schema": plain.pop("schema"), **plain}


def operators_of(model: str | Path) -> Operators:
    """Reads the operators and types of an .onnx, .ort or .tflite file.

    Raises:
        ModelError: no such file, or its runtime does not load it.
        MissingExtraError: of a TFLite file, LiteRT is not installed.
    """
    path = Path(model)
    check_is_file(path)
    if path.suffix == ".tflite":
        operators = sorted(_tflite(path), key=lambda entry: (entry.name, entry.version))
        return Operators(path.name, operators, operators, "", arena_bytes=_arena(path))
    if path.suffix not in (".onnx", ".ort"):
        raise ModelError(f"{path}: not a model whose operators can be read (.onnx, .ort, .tflite)")
    if path.suffix == ".onnx":
        check_whole(path)
    save_optimized = import_engine(path, "ort").save_optimized
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".ort":
            plain = optimized = path
        else:
            plain, optimized = Path(folder) / "plain.ort", Path(folder) / "optimized.ort"
            save_optimized(path, plain, optimize=False)
            save_optimized(path, optimized)
        target = Path(folder) / "config.txt"
        as_it_is, as_it_runs = (_parsed(_config([file], target)) for file in (plain, optimized))
        both = _config(list(dict.fromkeys((plain, optimized))), target)
    return Operators(path.name, as_it_is, as_it_runs, f"# {path.name}\n{both}")


def write_config(operators: Operators, path: Path) -> None:
    """Writes the build's configuration, whole or not at all.

    Raises:
        OptionError: of a TFLite model: its runtime is built by other means.
        OutputError: it cannot be written.
    """
    if not operators.config:
        raise OptionError(
            f"{operators.model} is no model of onnxruntime; LiteRT's build takes the model itself", option="config"
        )
    files.write_bytes(path, operators.config.encode())


def _config(models: list[Path], target: Path) -> str:
    """Build configuration that onnxruntime writes for files in ORT format, without its comments, which name temporary files."""
    with _absent("torch"):  # which the package would import where it is installed, for helpers that are not used here
        try:
            from onnxruntime.tools.ort_format_model import create_config_from_models
        except ImportError as error:
            command = "pip install --force-reinstall onnxruntime, which brings it, or pip install flatbuffers"
            raise ModelError(f"onnxruntime's tools need the package flatbuffers: {command} ({error})") from error
    try:
        with quiet():  # it logs, and leaves files to be closed by themselves
            create_config_from_models(models, target, enable_type_reduction=True)
    except Exception as error:  # flatbuffers of a damaged file: index errors and the like
        raise ModelError(f"{models[0]}: not a model in ORT format that can be read ({error})") from error
    return "".join(f"{line}\n" for line in target.read_text().splitlines() if not line.startswith("#"))


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Makes a package look as if it were not installed, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def _parsed(config: str) -> list[Operator]:
    return [operator for line in config.splitlines() for operator in _line(line)]


def _line(line: str) -> Iterator[Operator]:
    """Operators of a line `domain;version;Add,Cast{"inputs": {...}},...`; JSON may hold commas."""
    domain, version, rest = line.split(";", 2)
    decoder, at = json.JSONDecoder(), 0
    while entry := _ENTRY.match(rest, at):
        types, at = decoder.raw_decode(rest, entry.end(1)) if entry[2] else ({}, entry.end())
        yield Operator(entry[1], domain, int(version), types)
        at += 1  # the comma


def _tflite(path: Path) -> Iterator[Operator]:
    """Operators of all subgraphs of a TFLite file, by the schema that comes with LiteRT."""
    from hsiedge.runtimes.tflite_file import IDENTIFIER, graph_of

    with needs_extra(f"reading {path.name}", "litert"):
        from ai_edge_litert import schema_py_generated as schema
    graph = graph_of(path)
    if graph[4:8] != IDENTIFIER:
        raise ModelError(f"{path}: not a TFLite file")
    try:
        model = schema.ModelT.InitFromPackedBuf(graph)
        names, kinds = _constants(schema.BuiltinOperator), _constants(schema.TensorType)
        types = _tflite_types(model, kinds)
        codes = [_tflite_name(code, names) for code in model.operatorCodes]
    except Exception as error:  # flatbuffers of a damaged file: index errors and the like
        raise ModelError(f"{path}: not a TFLite file that can be read ({type(error).__name__}: {error})") from error
    for number, (name, builtin) in enumerate(codes):
        yield Operator(name, "tflite", int(model.operatorCodes[number].version), types.get(number, {}), builtin)


def _arena(path: Path) -> int | None:
    """Bytes of a TFLite file's arena in TFLite Micro; None where that is not installed, or has not all its operators."""
    try:
        return load(path, runtime="tflm").session.arena_bytes
    except (MissingExtraError, ModelError):
        return None


def _tflite_name(code: Any, names: dict[int, str]) -> tuple[str, bool]:
    """Name of an operator, and whether it is built in; the older field holds codes up to 127 (TFLite schema, OperatorCode)."""
    number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
    if names.get(number) == "CUSTOM":
        return (code.customCode or b"?").decode(errors="replace"), False
    return names.get(number, f"operator {number}"), True


def _tflite_types(model: Any, kinds: dict[int, str]) -> dict[int, dict[str, Any]]:
    """Types by the number of the operator code: {"inputs": {"0": ["int8"]}, "outputs": {...}}."""
    types: dict[int, dict[str, dict[str, set[str]]]] = {}
    for graph in model.subgraphs:
        for node in graph.operators or ():
            sides = types.setdefault(int(node.opcodeIndex), {"inputs": {}, "outputs": {}})
            for side, tensors in (("inputs", node.inputs), ("outputs", node.outputs)):
                for place, tensor in enumerate(tensors if tensors is not None else ()):
                    if tensor >= 0:  # -1 stands for an input that is left out
                        sides[side].setdefault(str(place), set()).add(kinds[int(graph.tensors[tensor].type)].lower())
    return {
        number: {side: {place: sorted(names) for place, names in places.items()} for side, places in sides.items()}
        for number, sides in types.items()
    }


def _constants(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}
