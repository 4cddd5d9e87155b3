"""Attaching a Card to anyone's ONNX file, whose input is made to take the scene's stored dtype."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import __version__, files
from hsiedge.card import Card, ClassFacts, Step, now
from hsiedge.errors import HsiedgeError, ModelError, OptionError
from hsiedge.graphs.normalize import Normalized, normalize
from hsiedge.graphs.normalize.compare import check_same, feed_of, limit_of, run, session
from hsiedge.graphs.normalize.outside import Outside
from hsiedge.graphs.onnx_io import MAX_IR, inputs_of, name_nodes, read_onnx, write_onnx
from hsiedge.graphs.passes import apply
from hsiedge.graphs.passes.minify import Minify
from hsiedge.graphs.passes.separate_int8_tensors import SeparateInt8Tensors
from hsiedge.runtimes import load, require_card
from hsiedge.runtimes.tflite_file import graph_of, with_card
from hsiedge.scenes.facts import scene_facts
from hsiedge.scenes.patches import check_patch, extract
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TRAIN, Split

if TYPE_CHECKING:
    from onnx import ModelProto

_BY_SUMS = 1e-3  # of the logits' range: preprocessing is in float32 in the graph, and in float64 beside it
_COMPARED = 12  # patches on which a normalized graph is compared with what it was


def attach_card(
    model: Path,
    scene: Scene,
    patch: int,
    split: Split | None,
    output: Path,
    *,
    logits: str | None = None,
    keep_graph: bool = False,
    standardize: bool = False,
    pca: int | None = None,
) -> Card:
    """Writes a Card into an ONNX file, its graph normalized, with a cast before it where the scene stores another dtype.

    Preprocessing beyond that cast is in the graph, or fitted here on the split's training pixels (without a split, on all that
    are labelled) and put in front. Outputs are taken to be the scene's classes, in order of their ids.

    Args:
        logits: name of the output that counts, where the graph has several.
        keep_graph: leave the graph as it is; then it must take `(N, bands, patch, patch)` and give one output.
        standardize: the net takes bands of mean 0 and standard deviation 1.
        pca: the net takes so many principal components, of the standardized bands where both are asked for.

    Returns:
        The Card; the options of its last step tell what was changed in the graph.

    Raises:
        ModelError: a graph that is no patch graph of the scene; see `hsiedge.graphs.normalize.normalize`.
        OptionError: preprocessing together with `keep_graph`, or more components than bands.
        CheckError: normalized, it would give other logits.
        SceneError: the patch does not fit the scene.
        OutputError: `output` cannot be written.
    """
    check_patch(patch, scene.shape)
    source = read_onnx(model)
    dropped = split.dropped if split else ()
    classes = [ClassFacts(label, title) for label, title in scene.classes.items() if label not in dropped]
    pixels = split.pixels(TRAIN) if split else np.flatnonzero(scene.labelled())
    outside = None
    if standardize or pca is not None:
        if keep_graph:
            raise OptionError("cannot be combined with preprocessing, which changes the graph", option="keep_graph")
        whose = f"{'training' if split else 'labelled'} pixels of {scene.name}"
        values = extract(scene.cube, pixels, 1)[:, :, 0, 0]
        outside = Outside.fitted(values, standardize=standardize, pca=pca, pixels=whose)
    else:
        take_dtype(source, scene.cube.dtype)
    if keep_graph:
        _check_input(model, source, scene, patch)
        normal = Normalized(source, (), "")
    else:
        patches = extract(scene.cube, _some(pixels), patch)
        try:
            normal = normalize(source, patches if outside is None else outside(patches), logits=logits)
            if outside is not None:
                normal = _with_outside(normal, outside, patches)
        except HsiedgeError as error:
            raise error.within(model) from error
    graph = name_nodes(apply(normal.model, SeparateInt8Tensors()))
    graph.ir_version = min(graph.ir_version, MAX_IR)  # nothing in a newer one is needed up to opset 21, which is checked
    graph = take_dtype(graph, scene.cube.dtype)
    card = Card(
        kind="patch",
        scene=scene_facts(scene, pixels),
        classes=classes,
        patch=patch,
        created=now(),
        preprocess=f"{f'{outside.text}, then ' if outside else ''}inside the graph, as its maker left it",
        split=split.facts if split else None,
        head=normal.head,
        lineage=[Step("card", now(), {"changes": list(normal.changes)}, None, {"hsiedge": __version__})],
    )
    _check_output(model, graph, card, scene)
    write_onnx(output, graph, card)
    return card


def _with_outside(normal: Normalized, outside: Outside, patches: NDArray[Any]) -> Normalized:
    """A normalized graph with preprocessing in front, compared with the two after one another."""
    model, limit = outside.before(normal.model), limit_of(normal.model)
    alone = session(normal.model)
    expected = run(alone, feed_of(alone, outside(patches)))
    check_same(model, expected, patches.astype(np.float32), softmax=False, limit=max(limit, _BY_SUMS))
    return replace(normal, model=model, changes=(*normal.changes, f"{outside.text}: in front of it"))


def _some(pixels: NDArray[np.intp]) -> NDArray[np.intp]:
    """A few pixels, from all over, that graphs are compared on."""
    return pixels[np.linspace(0, len(pixels) - 1, min(_COMPARED, len(pixels)), dtype=np.intp)]


def rewrite(model: Path, output: Path) -> Card:
    """Writes an ONNX or TFLite file that has a Card anew, as this version writes it: with its digest, the Card packed.

    An ONNX file then opens in onnxruntime's exact mode. Logits stay what they were, to the bit.

    Raises:
        CardError: it has no Card.
        OutputError: `output` cannot be written.
    """
    card = require_card(model)
    if model.suffix == ".tflite":
        files.write_bytes(output, with_card(graph_of(model), card.encode()))
        return card
    graph = read_onnx(model)
    rest = [] if card.quantization is None else [Minify()]
    write_onnx(output, apply(graph, SeparateInt8Tensors(), *rest), card)
    return card


def take_dtype(graph: ModelProto, dtype: np.dtype[Any]) -> ModelProto:
    """The graph with its one input in `dtype`, cast to what it took before; itself where that is the same.

    Raises:
        ModelError: what it took before cannot hold the values of `dtype`.
    """
    from onnx import helper

    wanted = helper.np_dtype_to_tensor_dtype(dtype)
    had = inputs_of(graph)[0].type.tensor_type.elem_type
    if had == wanted:
        return graph
    taken = helper.tensor_dtype_to_np_dtype(had)
    if taken.kind != "f" and not np.can_cast(dtype, taken):
        raise ModelError(
            f"the graph takes {taken}, which does not hold what the scene stores ({dtype}); export it with float input"
        )
    changed = copy.deepcopy(graph)
    source = inputs_of(changed)[0]
    name = f"{source.name}_cast"
    for node in changed.graph.node:
        for place, entry in enumerate(node.input):
            if entry == source.name:
                node.input[place] = name
    changed.graph.node.insert(0, helper.make_node("Cast", [source.name], [name], name=name, to=had))
    source.type.tensor_type.elem_type = wanted
    return changed


def _check_input(path: Path, graph: ModelProto, scene: Scene, patch: int) -> None:
    inputs = inputs_of(graph)
    if len(inputs) != 1:
        raise ModelError(f"{path}: has {len(inputs)} inputs; a patch graph has one, (N, bands, patch, patch)")
    shape = [size.dim_value or None for size in inputs[0].type.tensor_type.shape.dim]
    expected = (None, scene.bands, patch, patch)
    if len(shape) != 4 or any(size not in (None, want) for size, want in zip(shape[1:], expected[1:])):
        raise ModelError(
            f"{path}: takes {tuple(shape)}, {scene.name} with patch {patch} gives (N, {scene.bands}, {patch}, {patch})"
        )
    if shape[0] not in (None, 1):
        raise ModelError(f"{path}: takes batches of {shape[0]} only; export it with a free first dimension")


def _check_output(path: Path, graph: ModelProto, card: Card, scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(graph.SerializeToString())
        logits = load(file).session.run([extract(scene.cube, np.zeros(1, np.intp), card.patch)])
    if logits.shape != (1, len(card.classes)):
        raise ModelError(f"{path}: gives {logits.shape} for one patch, {scene.name} has {len(card.classes)} classes")
