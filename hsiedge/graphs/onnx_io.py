"""ONNX files with a Card inside."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hsiedge import files
from hsiedge.card import KEY, Card
from hsiedge.errors import CheckError, ModelError, needs_extra
from hsiedge.runtimes import check_intact, seal
from hsiedge.runtimes.onnx_file import check_whole

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

MAX_OPSET, MAX_IR = 21, 10  # what onnxruntime 1.18 loads
_LARGEST = 1 << 31  # protobuf's own limit


def _onnx() -> ModuleType:
    with needs_extra("working on ONNX graphs", "quantize"):
        import onnx
    module: ModuleType = onnx
    return module


def read_onnx(path: Path) -> ModelProto:
    """The `onnx.ModelProto` of a file, without the digest that the file carries of itself.

    Raises:
        ModelError: missing, broken, modified since it was written, or with weights in other files (no path from inside a file
            is followed).
        MissingExtraError: onnx is not installed.
    """
    onnx = _onnx()
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.stat().st_size >= _LARGEST:
        raise ModelError(f"{path}: larger than 2 GiB")
    check_intact(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's exceptions differ between its implementations
        raise ModelError(f"{path}: not an ONNX file ({str(error).splitlines()[0] if str(error) else error!r})") from error
    if not model.graph.node:
        raise ModelError(f"{path}: not an ONNX file, or an empty graph")
    check_whole(path)
    for entry in [entry for entry in model.metadata_props if entry.key == seal.KEY]:
        model.metadata_props.remove(entry)
    return model


def inputs_of(model: ModelProto) -> list[ValueInfoProto]:
    """The inputs that are no weights (older files list their weights among the inputs)."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in weights]


def name_nodes(model: ModelProto) -> ModelProto:
    """The model, each node with a name of its own: strangers leave them out, and quantizers know layers by nothing else."""
    taken: set[str] = set()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
        taken.add(node.name)
    return model


def write_onnx(path: Path, model: ModelProto, card: Card) -> None:
    """Puts the Card into the model's metadata, checks the model, and writes it with its digest, whole or not at all.

    Raises:
        CheckError: onnx.checker finds fault with it, or it needs a newer onnxruntime than 1.18.
        OutputError: the place cannot be written to.
    """
    set_card(model, card)
    check_onnx(model)
    place = seal.new_place()
    model.metadata_props.add(key=seal.KEY, value=place)
    data = model.SerializeToString()
    del model.metadata_props[-1]
    files.write_bytes(path, seal.sealed(data, place))


def set_card(model: ModelProto, card: Card) -> None:
    """Replaces the Card in the model's metadata, and leaves the other entries be."""
    kept = [entry for entry in model.metadata_props if entry.key not in (KEY, seal.KEY)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=KEY, value=card.encode())


def check_onnx(model: ModelProto) -> None:
    """Raises CheckError unless onnx.checker passes the model and onnxruntime 1.18 can load its opset and IR."""
    onnx = _onnx()
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise CheckError(f"onnx.checker refuses the graph: {str(error).splitlines()[0]}") from error
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("", 0) > MAX_OPSET or model.ir_version > MAX_IR:
        raise CheckError(
            f"opset {opsets.get('')} and IR {model.ir_version} are newer than "
            f"onnxruntime 1.18 loads; export it with opset {MAX_OPSET} or less"
        )
