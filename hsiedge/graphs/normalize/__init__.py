"""Normalizing strangers' graphs: once, at the door, so that everything after meets one kind of graph.

Published nets come with opsets from 7 on, a batch fixed at 1, `Shape` chains from `x.view(x.size(0), -1)`, an `If` from
`squeeze()`, and inputs in half a dozen layouts. Here they become opset 18 to 21, with a free batch, static shapes, and one
input `(N, bands, p, p)`. What comes out is compared with what came in, on one patch and on several, before it is believed.

For example a graph of opset 11 that takes `(1, p, p, bands)` and ends in Softmax gets a Transpose in front, the batch N, and
gives its logits; `Normalized.changes` tells each of these in a line.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from hsiedge.errors import ModelError
from hsiedge.graphs.normalize.compare import check_same, limit_of, outputs_one_by_one, run, session
from hsiedge.graphs.normalize.einsum import einsums_to_products
from hsiedge.graphs.normalize.fold import fold
from hsiedge.graphs.normalize.head import choose_logits, drop_softmax, flatten, head_of, refuse_training
from hsiedge.graphs.normalize.layout import Layout, alternatives, layouts_of, put_in_front
from hsiedge.graphs.normalize.versions import to_float32, to_our_opset
from hsiedge.graphs.onnx_io import MAX_IR, name_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Layout", "Normalized", "normalize"]


@dataclass(frozen=True)
class Normalized:
    """A graph `(N, bands, p, p) -> (N, classes)`, float32, or float64 as it was.

    Attributes:
        model: `onnx.ModelProto`.
        changes: what was done to it, a line each.
        head: "sigmoid" or "softmax" where its outputs are probabilities; "" for logits.
    """

    model: ModelProto
    changes: tuple[str, ...]
    head: str


def normalize(model: ModelProto, patches: NDArray[Any], *, logits: str | None = None) -> Normalized:
    """Normalizes a patch graph, and checks it against what it was.

    Args:
        patches: `(n, bands, p, p)` of the scene, some of them; they are what both graphs are compared on.
        logits: name of the output that counts, where the graph has several.

    Raises:
        ModelError: a layout of the input that is not known, or inputs that are no patch and spectrum; several outputs and no
            name; a patch's outputs that depend on the others of its batch; a graph that onnxruntime does not run.
        CheckError: the normalized graph gives other labels or logits than the original.
    """
    original = name_nodes(copy.deepcopy(model))
    chosen, changes = choose_logits(original, logits)
    refuse_training(chosen)
    layouts = layouts_of(chosen, patches.shape[1], patches.shape[2])
    expected = outputs_one_by_one(chosen, layouts, patches, limit_of(chosen))
    changes += _other_layouts(chosen, layouts, patches)
    converted, conversions = to_our_opset(chosen)
    changes += conversions
    graph = ir.from_proto(converted)
    for tidy in (
        common.RemoveInitializersFromInputsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.TopologicalSortPass(),
    ):
        tidy(graph)
    halves = to_float32(graph)
    changes += halves
    if halves:
        layouts = [replace(layout, dtype="float32" if layout.dtype == "float16" else layout.dtype) for layout in layouts]
    changes += fold(graph, layouts, patches)
    changes += einsums_to_products(graph)
    common.IdentityEliminationPass()(graph)
    common.RemoveUnusedNodesPass()(graph)
    changes += put_in_front(graph, layouts, patches.shape[1], patches.shape[2])
    without_softmax = drop_softmax(graph)
    changes += without_softmax
    head = head_of(graph)
    changes += flatten(graph, expected.shape[1], patches)
    common.NameFixPass()(graph)
    normal = name_nodes(ir.to_proto(graph))
    normal.ir_version = min(max(normal.ir_version, 8), MAX_IR)
    check_same(normal, expected, patches, softmax=bool(without_softmax), limit=limit_of(chosen))
    return Normalized(normal, tuple(changes), head)


def _other_layouts(model: ModelProto, layouts: list[Layout], patches: NDArray[Any]) -> list[str]:
    """A line where a net of one input runs on another layout, too: its sizes do not say which it was trained on."""
    if len(layouts) > 1:
        return []
    opened, others = None, []
    for layout in alternatives(model, layouts[0], patches.shape[1], patches.shape[2]):
        opened = opened or session(model)
        try:
            run(opened, {layout.name: layout(patches[:1])})
        except ModelError:
            continue
        others.append(layout.text)
    if not others:
        return []
    return [f"taken as {layouts[0].text}; it runs on {' and '.join(others)}, too: compare with the code that it was trained by"]
