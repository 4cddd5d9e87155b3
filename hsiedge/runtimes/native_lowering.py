"""Lowering: values by name, tensors and ops of an INT8 graph on its way to a program, and the one error of its nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError
from hsiedge.native.program import Kind, Op, Tensor
from hsiedge.runtimes.native_values import Axes, Joined, Stored, table_of
from hsiedge.runtimes.onnx_graph import Graph, Node


class UnsupportedNodeError(ModelError):
    """The native engine computes no such node; other runtimes do."""


class Lowering:
    """A graph on its way to a program: what is known of its values, and the tensors and ops that there are.

    Handlers of nodes derive from it: `_on_conv(node)` gives the value of a Conv.
    """

    def __init__(self, graph: Graph, card: Card, path: Path) -> None:
        self._graph, self._card, self._path = graph, card, path
        self._tensors = [Tensor(1, card.scene.bands)]
        self._ops: list[Op] = []
        self._node = Node("", "", [], [], {})
        self.values: dict[str, Any] = {}
        signed = card.input_affine is not None and card.input_affine.dtype == "int8"
        if (
            card.input_affine is None
            or card.input_affine.dtype not in ("uint8", "int8")
            or card.kind != "scene"
            or len(graph.inputs) != 1
        ):
            raise UnsupportedNodeError(
                f"{path}: the native engine runs INT8 scene graphs that take integers; onnxruntime runs the others",
                use={"runtime": "ort"},
            )
        self._signed = signed
        self.values[graph.inputs[0]] = Stored(0, ("1", "r", "x", "c"), signed)

    def _refused(self, reason: str) -> UnsupportedNodeError:
        return UnsupportedNodeError(
            f"{self._path}: the native engine does not compute {self._node.title} ({reason}); onnxruntime does",
            use={"runtime": "ort"},
        )

    def _constant(self, name: str) -> NDArray[Any]:
        value = self._graph.initializers.get(name, self.values.get(name))
        if not isinstance(value, np.ndarray):
            raise self._refused("an input that is not constant")
        return value

    def _value(self, name: str, *kinds: type) -> Any:
        value = self.values.get(name)
        if not isinstance(value, kinds):
            raise self._refused("it takes other than it can here" if value is not None else "it takes a constant")
        return value

    def _new(self, shape: Tensor) -> int:
        self._tensors.append(replace(shape))
        return len(self._tensors) - 1

    def _added(self, op: Op, shape: Tensor, axes: Axes, signed: bool) -> Stored:
        out = self._new(shape)
        self._ops.append(replace(op, out=out))
        return Stored(out, axes, signed, shrink=shape.shrink)

    def _plain(self, stored: Stored) -> Stored:
        """Integers that are all of a tensor's positions and channels."""
        if stored.window > 1 or stored.first or stored.last is not None:
            raise self._refused("part of the positions")
        return stored

    def _shape(self, stored: Stored) -> Tensor:
        return replace(self._tensors[stored.tensor], shrink=stored.shrink)

    def _table_op(self, source: Stored, shape: Tensor, table: NDArray[np.uint8]) -> Op:
        place = (source.row,), (source.column,)
        return Op(Kind.TABLE, -1, (source.tensor,), rows=place[0], columns=place[1], channels=shape.channels, table=table)

    def _join(self, value: Joined, scale: np.float32, zero: int, signed: bool) -> Stored:
        sources = [self._plain(part.stored) for part in value.parts]
        shapes = [self._shape(source) for source in sources]
        if len({(shape.positions, shape.shrink) for shape in shapes}) > 1:
            raise self._refused("parts of other sizes")
        if value.adds:
            if shapes[0].channels != shapes[1].channels:
                raise self._refused("a sum of other channels")
            first, second = (np.float32(part.scale / scale) for part in value.parts)
            fixed = np.float32(zero) - (first * np.float32(value.parts[0].zero) + second * np.float32(value.parts[1].zero))
            terms = np.array([first, second, fixed], np.float32)
            inputs, rows, columns = zip(*((source.tensor, source.row, source.column) for source in sources))
            op = Op(Kind.ADD, -1, inputs, rows=rows, columns=columns, channels=shapes[0].channels, terms=terms)
            return self._added(op, shapes[0], value.axes, signed)
        shape = replace(shapes[0], channels=sum(entry.channels for entry in shapes))
        out, begin = self._new(shape), 0
        for part, source, entry in zip(value.parts, sources, shapes):
            op = self._table_op(source, entry, table_of(part, scale, zero))
            self._ops.append(replace(op, out=out, channel=begin))
            begin += entry.channels
        return Stored(out, value.axes, signed, shrink=shape.shrink)

    def _extended(self, stored: Stored, before: int, behind: int, zero: int) -> Stored:
        source = self._plain(stored)
        shape = self._shape(source)
        wider = replace(shape, positions=shape.positions + before + behind)
        op = Op(
            Kind.EXTEND,
            -1,
            (source.tensor,),
            rows=(source.row,),
            columns=(source.column,),
            zero=zero,
            channels=shape.channels,
            position=before,
        )
        return self._added(op, wider, source.axes, source.signed)
