"""Export of anyone's PyTorch net: a factory in a Python file, and a file of weights."""

from __future__ import annotations

import logging
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
from hsiedge.errors import HsiedgeError, ModelError, OptionError
from hsiedge.graphs.artifact import verified
from hsiedge.graphs.export.checkpoint import LOGIT_LIMIT, to_onnx
from hsiedge.graphs.export.factory import Argument, as_patches, first_line, module_of
from hsiedge.graphs.normalize import normalize
from hsiedge.graphs.onnx_io import check_onnx, name_nodes
from hsiedge.runtimes.ort import OrtSession

_LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    from onnx import ModelProto

_PATCHES, _NORMALIZED_ON = 64, 12
_WRAPPED = ("state_dict", "model_state_dict", "model_state", "state", "model", "net", "network", "weights", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def export_module(
    source: str,
    weights: Path | None,
    bands: int,
    patch: int,
    classes: int,
    output: Path,
    *,
    arguments: Mapping[str, Argument] | None = None,
    say: Callable[[str], None] = _LOG.info,
    stacks: bool = False,
) -> Check:
    """Writes the net that a factory makes as ONNX, float32 `(N, bands, p, p)` to `(N, classes)`, without a Card.

    Args:
        source: FILE.py:NAME, a function or class that gives an `nn.Module`. The file is the user's own, and is run. Bands,
            classes and patch go to the parameters that are called as published nets call them (n_bands, num_classes, ...).
        weights: of `state_dict`, by torch.save (inside of a checkpoint, too) or as safetensors; None to leave them as the
            factory made them.
        arguments: what parameters of the factory are given beside these.
        say: takes a line on each thing that was found out or changed.
        stacks: keep at each node which lines of code it was made of (`hsiedge.graphs.code_lines`).

    Returns:
        The comparison with PyTorch on random patches.

    Raises:
        ModelError: no such factory, one that fails, weights that do not fit or hold more than tensors, or another output.
        OptionError: sizes that cannot be, or parameters that lack a value.
        CheckError: the exported graph gives other labels or logits. Nothing was written then.
        OutputError: `output` cannot be written.
    """
    if min(bands, patch, classes) < 1 or patch % 2 == 0:
        raise OptionError(f"{bands} bands, patch {patch}, {classes} classes: each at least 1, and the patch odd")
    net = module_of(source, {"bands": bands, "classes": classes, "patch": patch}, arguments or {}, say)
    if weights is not None:
        _fill(net, weights)
    patches = torch.from_numpy(np.random.default_rng(0).normal(size=(_PATCHES, bands, patch, patch)).astype(np.float32))
    module = as_patches(source, net, patches, classes, say).eval()
    with torch.no_grad():
        logits = np.asarray(module(patches).numpy())
    try:
        model = name_nodes(to_onnx(module, bands, patch, stacks=stacks))
    except Exception as error:  # torch's exporter has many of its own
        raise ModelError(f"{source}: torch cannot export it ({first_line(error)})") from error
    try:
        normal = normalize(model, patches.numpy()[:_NORMALIZED_ON])
    except HsiedgeError as error:
        raise error.within(source) from error
    for change in normal.changes:
        say(change)
    check = _compared(normal.model, patches.numpy(), logits)
    check_onnx(normal.model)
    files.write_bytes(output, normal.model.SerializeToString())
    return check


def _fill(module: nn.Module, path: Path) -> None:
    """Loads weights; nothing but tensors is unpickled."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"{path}: no weights can be read from it ({first_line(error)})"
        raise ModelError(
            f"{reason}; nothing but tensors is unpickled: torch.save(net.state_dict(), FILE) writes such"
        ) from error
    state = _state(stored)
    if state is None:
        holds = f" (it holds {', '.join(map(str, list(stored)[:8]))})" if isinstance(stored, dict) else ""
        raise ModelError(f"{path}: holds no state_dict, names and tensors{holds}")
    try:
        module.load_state_dict(_renamed(state, module.state_dict()))
    except RuntimeError as error:
        raise ModelError(f"{path}: its weights are not those of the net ({' '.join(str(error).split())[:200]})") from error


def _state(stored: object) -> dict[str, torch.Tensor] | None:
    """The names and tensors in what a file holds: all of it, or those under a usual name, or the only ones there are."""
    if not isinstance(stored, dict):
        return None
    inner = [stored[name] for name in _WRAPPED if name in stored] + [value for value in stored.values() if _is_state(value)]
    return next((entry for entry in (stored, *inner) if _is_state(entry)), None)


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(entry, torch.Tensor) for entry in value.values())


def _renamed(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without what wrappers, such as DataParallel, put before each name, as long as the net knows none of them."""
    names = dict(state)
    while not {*names} & {*wanted}:
        prefix = next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): value for name, value in names.items()}
    return names


def _compared(model: ModelProto, patches: NDArray[Any], theirs: NDArray[Any]) -> Check:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        path.write_bytes(model.SerializeToString())
        ours = OrtSession(path).run([patches])
    return verified("the exported graph", "export", "PyTorch", (ours, theirs), LOGIT_LIMIT)
