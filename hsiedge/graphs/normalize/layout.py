"""Layouts of a patch: what a net takes, and the steps that make it of `(N, bands, p, p)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import Attribute, constant, operator
from hsiedge.graphs.onnx_io import inputs_of

if TYPE_CHECKING:
    from onnx import ModelProto

_BANDS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class Layout:
    """Steps that make one input of a net of patches `(N, bands, p, p)`: transposed, then squeezed, then unsqueezed.

    Attributes:
        name: of the input.
        text: its sizes, in words.
        centre: whether it takes the centre pixel's spectrum alone.
        dtype: NumPy dtype that the net takes.
    """

    name: str
    text: str
    order: tuple[int, ...] = (0, 1, 2, 3)
    squeezed: tuple[int, ...] = ()
    unsqueezed: tuple[int, ...] = ()
    centre: bool = False
    dtype: str = "float32"

    def __call__(self, patches: NDArray[Any]) -> NDArray[Any]:
        """The input made of patches `(N, bands, p, p)`, in the net's dtype."""
        side = patches.shape[2] // 2
        part = patches[:, :, side : side + 1, side : side + 1] if self.centre else patches
        values = np.squeeze(part.transpose(self.order), self.squeezed)
        for axis in self.unsqueezed:
            values = np.expand_dims(values, axis)
        return np.ascontiguousarray(values, self.dtype)


_KNOWN: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
    ("(N, bands, p, p)", (0, 1, 2, 3), (), ()),
    ("(N, p, p, bands)", _BANDS_LAST, (), ()),
    ("(N, 1, bands, p, p)", (0, 1, 2, 3), (), (1,)),
    ("(N, 1, p, p, bands)", _BANDS_LAST, (), (1,)),
    ("(N, bands, p, p, 1)", (0, 1, 2, 3), (), (4,)),
    ("(N, p, p, bands, 1)", _BANDS_LAST, (), (4,)),
)
_OF_A_SPECTRUM: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...] = (
    ("(N, bands)", (0, 1, 2, 3), (2, 3), ()),
    ("(N, bands, 1)", (0, 1, 2, 3), (3,), ()),
    ("(N, 1, bands)", _BANDS_LAST, (1,), ()),
)


def known_layouts(patch: int) -> list[Layout]:
    """The layouts that a net of one input may take, in the order in which they are tried; float32."""
    entries = (*_KNOWN, *(_OF_A_SPECTRUM if patch == 1 else ()))
    return [Layout("patches", text, order, squeezed, unsqueezed) for text, order, squeezed, unsqueezed in entries]


def layouts_of(model: ModelProto, bands: int, patch: int) -> list[Layout]:
    """Layout of each input: the patch, or, of two inputs, one the patch and the other its centre's spectrum.

    Raises:
        ModelError: sizes that are none of those known, or more than two inputs.
    """
    from onnx import helper

    inputs = inputs_of(model)
    if not 1 <= len(inputs) <= 2:
        raise ModelError(f"has {len(inputs)} inputs; a patch, or a patch and its centre's spectrum, are what nets take")
    layouts = []
    for entry in inputs:
        kind = entry.type.tensor_type
        sizes = [size.dim_value or None for size in kind.shape.dim]
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
        layouts.append(_layout(entry.name, sizes, bands, patch, dtype, alone=len(inputs) == 1))
    if len(layouts) == 2 and layouts[0].centre == layouts[1].centre:
        texts = " and ".join(layout.text for layout in layouts)
        raise ModelError(f"its two inputs take {texts}; a patch and its centre's spectrum were expected")
    return layouts


def alternatives(model: ModelProto, taken: Layout, bands: int, patch: int) -> list[Layout]:
    """Layouts that fit the sizes of a model's one input as the one that was taken does: which it is, the sizes do not say."""
    (entry,) = inputs_of(model)
    sizes = [size.dim_value or None for size in entry.type.tensor_type.shape.dim]
    fitting = [replace(layout, name=taken.name, dtype=taken.dtype) for layout in known_layouts(patch)]
    return [layout for layout in fitting if layout.text != taken.text and _fits(layout, sizes, bands, patch)]


def _fits(layout: Layout, sizes: Sequence[int | None], bands: int, patch: int) -> bool:
    expected = layout(np.zeros((1, bands, patch, patch), np.uint8)).shape
    return len(expected) == len(sizes) and all(size in (None, want) for size, want in zip(sizes[1:], expected[1:]))


def _layout(name: str, sizes: Sequence[int | None], bands: int, patch: int, dtype: str, alone: bool) -> Layout:
    whole = [(entry, False) for entry in (*_KNOWN, *(_OF_A_SPECTRUM if patch == 1 else ()))]
    centre = [] if alone else [(entry, True) for entry in (*_OF_A_SPECTRUM, *_KNOWN)]
    for (text, order, squeezed, unsqueezed), of_centre in [*whole, *centre]:
        layout = Layout(name, text, order, squeezed, unsqueezed, of_centre, dtype)
        if _fits(layout, sizes, bands, patch):
            return layout
    known = ", ".join(text for text, *_ in (*_KNOWN, *_OF_A_SPECTRUM))
    taken = ", ".join("N" if not place else str(size or "?") for place, size in enumerate(sizes))
    raise ModelError(f"takes ({taken}); with {bands} bands and patch {patch}, one of {known} was expected")


def put_in_front(graph: ir.Model, layouts: Sequence[Layout], bands: int, patch: int) -> list[str]:
    """Puts the steps before the graph that make its inputs of one, `(N, bands, p, p)`; gives a line for each that has some."""
    inputs = {value.name: value for value in graph.graph.inputs}
    if len(layouts) == 1 and layouts[0].text == _KNOWN[0][0]:
        inputs[layouts[0].name].shape = ir.Shape(["N", bands, patch, patch])
        return []
    patches = ir.Value(name="patches", type=inputs[layouts[0].name].type, shape=ir.Shape(["N", bands, patch, patch]))
    changes, front = [], list[ir.Node]()
    for layout in layouts:
        nodes = _steps(graph.graph, layout, patches, patch // 2)
        inputs[layout.name].replace_all_uses_with(nodes[-1].outputs[0] if nodes else patches)
        front += nodes
        if nodes:
            steps = " and ".join(node.op_type for node in nodes)
            whose = " of the centre pixel" if layout.centre else ""
            changes.append(f"{steps} in front of {layout.name}, which takes {layout.text}{whose}")
    graph.graph.insert_before(next(iter(graph.graph)), front)
    graph.graph.inputs[:] = [patches]
    return changes


def _steps(graph: ir.Graph, layout: Layout, patches: ir.Value, side: int) -> list[ir.Node]:
    """Nodes that make one input of the patches."""
    nodes: list[ir.Node] = []

    def add(kind: str, *lists: Sequence[int], **attributes: Attribute) -> None:
        place = f"{layout.name}_{kind.lower()}"
        rest = [constant(graph, f"{place}_{index}", np.array(values, np.int64)) for index, values in enumerate(lists)]
        source = nodes[-1].outputs[0] if nodes else patches
        nodes.append(operator(kind, [source, *rest], f"{place}_out", place, **attributes))

    if layout.centre:
        add("Slice", [side] * 2, [side + 1] * 2, [2, 3])
    if layout.order != (0, 1, 2, 3):
        add("Transpose", perm=layout.order)
    if layout.squeezed:
        add("Squeeze", layout.squeezed)
    if layout.unsqueezed:
        add("Unsqueeze", layout.unsqueezed)
    return nodes
