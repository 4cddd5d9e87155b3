"""Export: a checkpoint as one ONNX file, from stored counts to logits."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hsiedge.card import Card, Check, Step, now
from hsiedge.errors import ModelError
from hsiedge.graphs.artifact import verified
from hsiedge.graphs.code_lines import STACK
from hsiedge.graphs.onnx_io import set_card, write_onnx
from hsiedge.graphs.refit import place_before
from hsiedge.quiet import quiet
from hsiedge.runtimes import load
from hsiedge.scenes import splits
from hsiedge.scenes.patches import extract
from hsiedge.scenes.scene import Scene
from hsiedge.training.checkpoint import Checkpoint
from hsiedge.training.classifier import Classifier, predict_logits

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
CHECK_PATCHES = 512
LOGIT_LIMIT = 1e-4  # of the logits' range


def export(checkpoint: Checkpoint, scene: Scene, path: Path, parent: str | None = None) -> Card:
    """Writes the checkpoint as ONNX with a free batch and the scene's stored dtype as input, once it has been verified.

    Arguments and errors are those of `hsiedge.Checkpoint.export`; `parent` is the sha256 of the checkpoint's file. The Card
    in the file is returned.

    Of a refitted checkpoint, the graph of the weights from before is written beside it (`hsiedge.graphs.refit`).
    """
    source = checkpoint.card
    if scene.sha256 != source.scene.sha256:
        raise ModelError(f"{scene.name} is not the cube that the checkpoint was trained on ({source.scene.name})")
    model = to_onnx(checkpoint.classifier, source.scene.bands, source.patch, source.scene.dtype)
    card = replace(
        source,
        kind="patch",
        created=now(),
        lineage=[*source.lineage, Step("export", now(), {"opset": OPSET}, parent, {"torch": str(torch.__version__)})],
    )
    patches = extract(scene.cube, check_pixels(scene, source), source.patch)
    check = compare(model, card, checkpoint.classifier, patches)
    card = replace(card, checks=[*card.checks, check])
    if checkpoint.before is not None:
        export(checkpoint.views()[0], scene, place_before(path), parent)
    write_onnx(path, model, card)
    return card


def to_onnx(
    module: nn.Module, bands: int, patch: int, dtype: np.dtype[Any] | str = "float32", *, stacks: bool = False
) -> ModelProto:
    """A module that takes `(N, bands, p, p)` as an `onnx.ModelProto`: input `counts`, output `logits`, N free in both.

    Args:
        stacks: keep at each node which lines of code it was made of (`hsiedge.graphs.code_lines`).
    """
    example = torch.zeros(2, bands, patch, patch, dtype=torch.from_numpy(np.zeros(1, dtype)).dtype)
    with quiet():
        program = torch.onnx.export(
            copy.deepcopy(module),
            (example,),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["counts"],
            output_names=["logits"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return name_layers(strip(program.model_proto, stacks=stacks))


def strip(model: ModelProto, *, stacks: bool = False) -> ModelProto:
    """Removes what only tells of the exporting program: namespaces of nodes and values, and stacks, unless these are wanted."""
    kept = {node.name: [entry for entry in node.metadata_props if stacks and entry.key == STACK] for node in model.graph.node}
    for entry in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del entry.metadata_props[:]
        entry.doc_string = ""
    for node in model.graph.node:
        node.metadata_props.extend(kept[node.name])
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.graph.name, model.graph.doc_string, model.producer_name = "hsiedge", "", "hsiedge"
    return model


def name_layers(model: ModelProto) -> ModelProto:
    """Names each node with weights after the module they come from: the weight `net.spatial.0.weight` gives `spatial.0`."""
    for node in model.graph.node:
        owners = [name for name in node.input[1:] if name.startswith("net.") and name.endswith(".weight")]
        if owners:
            node.name = owners[0].removeprefix("net.").removesuffix(".weight")
    return model


def check_pixels(scene: Scene, card: Card, count: int = CHECK_PATCHES) -> NDArray[np.intp]:
    """Draws at most `count` pixels to compare two forms of a model on, labels unseen: those outside of the test part first.

    The test part of a split that came from files of one's own is not known here; unlabelled pixels come first then.
    """
    everywhere = np.arange(scene.shape[0] * scene.shape[1])
    if card.split is None or not splits.drawable(card.split):
        last = scene.labelled().ravel() != 0
    else:
        last = splits.redraw(scene, card.split).parts.ravel() == splits.TEST
    order = np.lexsort((splits.pixel_hash(0, 0, everywhere), last))
    return everywhere[order][:count]


def compare(model: ModelProto, card: Card, classifier: Classifier, patches: NDArray[Any]) -> Check:
    """Runs the graph in onnxruntime, beside PyTorch, on `patches` `(n, bands, p, p)`.

    Raises:
        CheckError: a label differs, or a logit by more than 1e-4 of the logits' range.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "exported.onnx"
        set_card(model, card)
        file.write_bytes(model.SerializeToString())
        ours = load(file).logits(patches)
    return verified("the exported graph", "export", "PyTorch", (ours, predict_logits(classifier, patches).numpy()), LOGIT_LIMIT)
