"""Scene graphs: a float patch model in, one graph for whole scenes out, once its logits are those of the patch model."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.card import Card, Check, Step, now
from hsiedge.errors import CheckError, ModelError, needs_extra
from hsiedge.graphs.onnx_io import name_nodes, read_onnx, set_card, write_onnx
from hsiedge.runtimes import Model, load
from hsiedge.scenes.patches import check_patch, surrounded
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.synthetic import draw_rows

_LOG = logging.getLogger(__name__)

if TYPE_CHECKING:
    import onnx

LOGIT_LIMIT = 1e-4  # of the logits' range
ACCEPTED = 90.0  # percent of the labels that an approximation has to keep, unless it is told otherwise
_ROWS, _SIDE = 4, 12  # of the strip of a real scene, and of the square of random counts, that both graphs are run on


def scene_graph(
    model: str | Path, scene: Scene, output: str | Path, approximate: bool = False, accept_labels: float = ACCEPTED
) -> Card:
    """Makes a scene graph of a float patch model, and writes it once both gave the same on real and on random counts.

    Arguments and errors are those of `hsiedge.Model.to_scene_graph`; the Card in the written file is returned.
    """
    with needs_extra("making scene graphs", "quantize"):
        from hsiedge.graphs.scene_graph.densify import densify

    path = Path(model)
    source = load(path)
    card = source.known
    if card.kind != "patch" or card.quantization is not None:
        raise ModelError(f"{path}: a scene graph is made of a float patch graph; it is quantized afterwards (hsiedge quantize)")
    source.check_fits(scene)
    check_patch(card.patch, scene.shape)
    try:
        graph = densify(name_nodes(read_onnx(path)), approximate)
    except ModelError as error:
        raise error.within(path) from error
    options: dict[str, Any] = {"approximations": graph.approximations} if graph.approximations else {}
    if graph.hybrid is not None:
        options["hybrid"] = vars(graph.hybrid)
    step = Step("scene-graph", now(), options, files.digest(path))
    card = replace(
        card,
        kind="scene",
        patch=graph.patch,
        created=now(),
        net=replace(card.net, macs_per_pixel=graph.macs_per_pixel) if card.net is not None else None,
        accuracy=[],
        lineage=[*card.lineage, step],
    )
    check = _compared(graph.model, card, source, scene, bool(graph.approximations))
    kept = 100 * (1 - check.figures["labels_differ"] / check.patches)
    if kept < accept_labels:
        raise CheckError(
            f"{path}: the approximation keeps {kept:.1f} % of the labels, {accept_labels:g} % are asked for; "
            "without approximation the scene graph is exact",
            use={"accept_labels": "PERCENT"},
        )
    card = replace(card, checks=[*card.checks, check])
    write_onnx(Path(output), graph.model, card)
    return card


def _compared(graph: onnx.ModelProto, card: Card, patches: Model, scene: Scene, approximate: bool) -> Check:
    """Both graphs on a strip of the scene, from edge to edge, and on a square of random counts.

    Raises:
        CheckError: see `scene_graph`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scene.onnx"
        set_card(graph, card)
        file.write_bytes(graph.SerializeToString())
        whole = load(file)
        differ, pixels, worst = 0, 0, 0.0
        for rows in (_strip(scene, card.patch), _random(card)):
            inner = (card.patch - patches.known.patch) // 2
            ours = whole.strip(rows)
            theirs = patches.strip(rows[inner : len(rows) - inner, inner : rows.shape[1] - inner])
            differ += int((ours.argmax(0) != theirs.argmax(0)).sum())
            pixels += ours[0].size
            worst = max(worst, float(np.abs(ours - theirs).max() / max(np.ptp(theirs), 1e-30)))
    if not approximate and (differ or not worst <= LOGIT_LIMIT):
        raise CheckError(f"the scene graph is not the net: {differ} of {pixels} labels differ, logits by {worst:.1e}")
    check = Check("scene-graph", "the patch graph", pixels, {"labels_differ": differ, "logit_difference": worst})
    _LOG.info("%s", check)
    return check


def _strip(scene: Scene, patch: int) -> NDArray[Any]:
    """The middle rows of a scene with their halo, `(h + p - 1, w + p - 1, bands)`, reflected at the edges."""
    first = max(0, scene.shape[0] // 2 - _ROWS)
    return surrounded(scene.cube, first, first + _ROWS, patch // 2)


def _random(card: Card) -> NDArray[Any]:
    """A square of random counts with its halo, the same in each run."""
    side = _SIDE + card.patch - 1
    return draw_rows(card.scene, (side, side), np.random.default_rng(0))
