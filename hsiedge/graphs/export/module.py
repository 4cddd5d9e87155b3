"""Export of anyone's PyTorch net: a factory in a Python file, and a file of weights."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hsiedge import files
from hsiedge.card import Check
from hsiedge.errors import ModelError, OptionError
from hsiedge.graphs.artifact import verified
from hsiedge.graphs.export.checkpoint import LOGIT_LIMIT, to_onnx
from hsiedge.graphs.onnx_io import check_onnx, name_nodes
from hsiedge.registry import run_file
from hsiedge.runtimes.ort import OrtSession

if TYPE_CHECKING:
    from onnx import ModelProto

_PATCHES = 64
_WRAPPED = ("state_dict", "model_state_dict", "model", "net")


def export_module(source: str, weights: Path | None, bands: int, patch: int, classes: int, output: Path) -> Check:
    """Writes the net that a factory makes as ONNX, float32 `(N, bands, p, p)` to `(N, classes)`, without a Card.

    Args:
        source: FILE.py:NAME, a function or class that gives an `nn.Module`. The file is the user's own, and is run. What its
            parameters are called (bands, classes, patch) is what they are given.
        weights: of `state_dict`, by torch.save or as safetensors; None to leave them as the factory made them.

    Returns:
        The comparison with PyTorch on random patches.

    Raises:
        ModelError: no such factory, one that fails, weights that do not fit or hold more than tensors, or another output.
        OptionError: sizes that cannot be.
        CheckError: the exported graph gives other labels or logits. Nothing was written then.
        OutputError: `output` cannot be written.
    """
    if min(bands, patch, classes) < 1 or patch % 2 == 0:
        raise OptionError(f"{bands} bands, patch {patch}, {classes} classes: each at least 1, and the patch odd")
    module = _made(source, {"bands": bands, "classes": classes, "patch": patch})
    if weights is not None:
        _fill(module, weights)
    module.eval()
    patches = torch.from_numpy(np.random.default_rng(0).normal(size=(_PATCHES, bands, patch, patch)).astype(np.float32))
    logits = _logits(source, module, patches, classes)
    try:
        model = name_nodes(to_onnx(module, bands, patch))
    except Exception as error:  # torch's exporter has many of its own
        raise ModelError(f"{source}: torch cannot export it ({_first_line(error)})") from error
    check = _compared(model, patches.numpy(), logits)
    check_onnx(model)
    files.write_bytes(output, model.SerializeToString())
    return check


def _made(source: str, sizes: Mapping[str, int]) -> nn.Module:
    place, _, name = source.rpartition(":")
    path = Path(place)
    try:
        factory = getattr(run_file(path)[0], name, None)
    except OptionError as error:
        raise ModelError(str(error)) from error
    if not callable(factory):
        raise ModelError(f"{path}: has no function or class {name}")
    try:
        module = factory(**_arguments(factory, sizes))
    except Exception as error:
        raise ModelError(f"{source}: fails ({type(error).__name__}: {_first_line(error)})") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{source}: gives {type(module).__name__}, an nn.Module was expected")
    return module


def _arguments(factory: Callable[..., object], sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes that it has parameters for."""
    return {name: sizes[name] for name in inspect.signature(factory).parameters if name in sizes}


def _fill(module: nn.Module, path: Path) -> None:
    """Loads weights; nothing but tensors is unpickled."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: no weights can be read from it ({_first_line(error)})") from error
    state = next((state[name] for name in _WRAPPED if isinstance(state, dict) and isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: holds no state_dict, names and tensors")
    try:
        module.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    except RuntimeError as error:
        raise ModelError(f"{path}: its weights are not those of the net ({' '.join(str(error).split())[:200]})") from error


def _logits(source: str, module: nn.Module, patches: torch.Tensor, classes: int) -> NDArray[Any]:
    try:
        with torch.no_grad():
            logits = module(patches)
    except Exception as error:
        raise ModelError(f"{source}: does not take {tuple(patches.shape)} ({_first_line(error)})") from error
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (len(patches), classes):
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"{source}: gives {shape} for {len(patches)} patches, ({len(patches)}, {classes}) was expected")
    return np.asarray(logits.numpy())


def _compared(model: ModelProto, patches: NDArray[Any], theirs: NDArray[Any]) -> Check:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        path.write_bytes(model.SerializeToString())
        ours = OrtSession(path).run([patches])
    return verified("the exported graph", "export", "PyTorch", (ours, theirs), LOGIT_LIMIT)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
