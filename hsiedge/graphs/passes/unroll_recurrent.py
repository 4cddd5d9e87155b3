"""Pass: recurrent layers as what they do, step after step. TFLite has no GRU, and its LSTM is made for other layouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.graphs.edit import Attribute, array_of, constant, drop_unused, insert_before, name_of, operator, sizes_of, taken
from hsiedge.graphs.passes.graph_pass import GraphPass

_ACTIVATIONS = {"RNN": ["tanh"], "GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}
_PLAIN = {"direction", "hidden_size", "activations", "linear_before_reset", "layout"}
_MOST = 2048  # steps in both directions: some ten operators each
Array = NDArray[np.float32]


class UnrollRecurrent(GraphPass):
    """Writes RNN, GRU and LSTM out, for the number of steps that their input has.

    Requires: known lengths, constant weights, ONNX's default activations, and initial states of zeros, which are left out.
    Does: one product for the inputs of all steps, then, step by step, one product with the state, and the gates.
    Ensures: outputs are the same but for rounding, and no recurrent layer is left; ModelError names one that would be.
    """

    def rewrite(self, model: ir.Model) -> str:
        layers = [node for node in model.graph if node.op_type in _ACTIVATIONS]
        sizes = sizes_of(model) if layers else {}
        for node in layers:
            _unroll(model.graph, node, sizes.get(name_of(taken(node)), ()))
        drop_unused(model)
        return f"{len(layers)} recurrent layers are written out" if layers else ""

    def fault(self, model: ir.Model) -> str:
        return "a recurrent layer is left" if any(node.op_type in _ACTIVATIONS for node in model.graph) else ""


def _unroll(graph: ir.Graph, node: ir.Node, sizes: Sequence[int]) -> None:
    weights = [array_of(value) for value in node.inputs[1:4]]
    inputs, states = (*weights, None, None)[:2]
    activations = [entry.lower() for entry in node.attributes.get_strings("activations", ())]
    layout = node.attributes["layout"].as_int() if "layout" in node.attributes else 0
    reason = ""
    if inputs is None or states is None or any(entry is None for entry in weights):
        reason = "its weights are not constant"
    elif any(value is not None for value in node.inputs[4:]):
        reason = "its sequences differ in length, begin with a state, or look through peepholes"
    elif {*node.attributes} - _PLAIN or layout or activations not in ([], _ACTIVATIONS[node.op_type] * len(inputs)):
        reason = "its activations or layout are not ONNX's defaults"
    elif len(sizes) != 3 or sizes[0] < 1:
        reason = "its length is not known"
    elif sizes[0] * len(inputs) > _MOST:
        reason = f"its {sizes[0] * len(inputs)} steps are too many to be written out"
    if reason or inputs is None or states is None:
        raise ModelError(f"node {node.name} ({node.op_type}): {reason}")
    biases = weights[2] if len(weights) > 2 else None
    biases = np.zeros((len(inputs), 2 * inputs.shape[1]), np.float32) if biases is None else biases
    _Layer(graph, node, sizes[0], inputs, states, biases).write()


class _Layer:
    """One recurrent layer.

    Args:
        inputs: weights of what each direction is fed with, `(directions, gates * hidden, inputs)`.
        states: those of its state, `(directions, gates * hidden, hidden)`.
        biases: of both, one behind the other, `(directions, 2 * gates * hidden)`.
    """

    def __init__(self, graph: ir.Graph, node: ir.Node, steps: int, inputs: Array, states: Array, biases: Array) -> None:
        self._graph, self._node, self._steps = graph, node, steps
        self._weights, self._hidden = list(zip(inputs, states, biases)), states.shape[2]
        self._nodes: list[ir.Node] = []
        self._numbers: dict[tuple[str, bytes], ir.Value] = {}

    def write(self) -> None:
        """Puts the steps in the place of the layer."""
        batch_first = self._op("Transpose", [taken(self._node)], perm=[1, 0, 2])
        direction = self._node.attributes.get_string("direction", "forward")
        runs = []
        for place in range(len(self._weights)):
            backwards = direction == "reverse" or place == 1
            runs.append(self._direction(batch_first, place, range(self._steps)[:: -1 if backwards else 1]))
        for output, value in zip(self._node.outputs, self._outputs(runs)):
            output.replace_all_uses_with(value, replace_graph_outputs=True)
        insert_before(self._node, self._nodes)
        self._graph.remove(self._node, safe=True)

    def _outputs(self, runs: Sequence[tuple[dict[int, ir.Value], ir.Value, ir.Value | None]]) -> list[ir.Value]:
        """The outputs that are used: all states `(steps, directions, N, hidden)`, and the last `(directions, N, hidden)`."""
        outputs: list[ir.Value] = []
        for place in range(len(self._node.outputs)):
            if not place:
                states = [self._op("Concat", [self._row(run[0][step]) for run in runs], axis=1) for step in range(self._steps)]
                whole = self._op("Concat", [self._op("Unsqueeze", [state, self._axes(0)]) for state in states], axis=0)
                outputs.append(self._op("Transpose", [whole], perm=[0, 2, 1, 3]))
            else:
                last = [run[place] for run in runs]
                joined = self._op("Concat", [self._row(value) for value in last if isinstance(value, ir.Value)], axis=1)
                outputs.append(self._op("Transpose", [joined], perm=[1, 0, 2]))
        return outputs

    def _row(self, state: ir.Value) -> ir.Value:
        """A state `(N, hidden)` with an axis for the direction, `(N, 1, hidden)`: the batch stays in front."""
        return self._op("Unsqueeze", [state, self._axes(1)])

    def _direction(
        self, sequence: ir.Value, place: int, order: Sequence[int]
    ) -> tuple[dict[int, ir.Value], ir.Value, ir.Value | None]:
        """The states `(N, hidden)` by step, the last one, and the last cell, of one direction."""
        inputs, states = (entry.T for entry in self._weights[place][:2])
        ours, theirs = np.split(self._weights[place][2], 2)
        recurrent = self._number("recurrent", states)
        apart = "linear_before_reset" in self._node.attributes and self._node.attributes["linear_before_reset"].as_int() == 1
        held = theirs[-self._hidden :].copy() if apart else np.zeros(0, np.float32)
        if apart:  # the reset gate weighs this bias, too
            theirs = np.concatenate([theirs[: -self._hidden], np.zeros(self._hidden, np.float32)])
        projected = self._op("MatMul", [sequence, self._number("input", inputs)])
        projected = self._op("Add", [projected, self._number("bias", ours + theirs)])
        parts = self._split(projected, [1] * self._steps, 1)
        state: ir.Value | None = None
        cell: ir.Value | None = None
        by_step: dict[int, ir.Value] = {}
        for step in order:
            entry = self._op("Squeeze", [parts[step], self._axes(1)])
            if self._node.op_type == "GRU":
                state = self._gru(entry, state, recurrent, states, held)
            elif self._node.op_type == "LSTM":
                state, cell = self._lstm(entry, state, cell, recurrent)
            else:
                state = self._op("Tanh", [self._plus(entry, state, recurrent)])
            by_step[step] = state
        assert state is not None
        return by_step, state, cell

    def _gru(self, entry: ir.Value, state: ir.Value | None, recurrent: ir.Value, states: Array, held: Array) -> ir.Value:
        """One step: (1 - z) * candidate + z * state, as candidate + z * (state - candidate)."""
        hidden, apart = self._hidden, len(held) > 0
        gates, candidate = self._split(entry, [2 * hidden, hidden], 1)
        bias = self._number("held_bias", held) if apart else None
        if state is not None and bias is not None:
            product = self._op("MatMul", [state, recurrent])
            of_gates, of_candidate = self._split(product, [2 * hidden, hidden], 1)
            gates, bias = self._op("Add", [gates, of_gates]), self._op("Add", [of_candidate, bias])
        elif state is not None:
            gates = self._plus(gates, state, self._number("gates", states[:, : 2 * hidden]))
        update, reset = self._split(self._op("Sigmoid", [gates]), [hidden, hidden], 1)
        if bias is not None:
            candidate = self._op("Add", [candidate, self._op("Mul", [reset, bias])])
        elif state is not None:
            weighed = self._op("Mul", [reset, state])
            candidate = self._plus(candidate, weighed, self._number("candidate", states[:, 2 * hidden :]))
        candidate = self._op("Tanh", [candidate])
        if state is None:
            return self._op("Sub", [candidate, self._op("Mul", [update, candidate])])
        return self._op("Add", [candidate, self._op("Mul", [update, self._op("Sub", [state, candidate])])])

    def _lstm(
        self, entry: ir.Value, state: ir.Value | None, cell: ir.Value | None, recurrent: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """One step: the state and the cell."""
        gates, candidate = self._split(self._plus(entry, state, recurrent), [3 * self._hidden, self._hidden], 1)
        ingoing, outgoing, forget = self._split(self._op("Sigmoid", [gates]), [self._hidden] * 3, 1)
        fresh = self._op("Mul", [ingoing, self._op("Tanh", [candidate])])
        cell = fresh if cell is None else self._op("Add", [self._op("Mul", [forget, cell]), fresh])
        return self._op("Mul", [outgoing, self._op("Tanh", [cell])]), cell

    def _plus(self, entry: ir.Value, state: ir.Value | None, recurrent: ir.Value) -> ir.Value:
        """Input of a step, plus what its state adds; there is no state at first."""
        return entry if state is None else self._op("Add", [entry, self._op("MatMul", [state, recurrent])])

    def _op(self, kind: str, inputs: Sequence[ir.Value], **attributes: Attribute) -> ir.Value:
        node = operator(kind, inputs, f"{self._node.name}_{kind.lower()}_{len(self._nodes)}", "", **attributes)
        self._nodes.append(node)
        return node.outputs[0]

    def _split(self, value: ir.Value, sizes: Sequence[int], axis: int) -> list[ir.Value]:
        name = f"{self._node.name}_split_{len(self._nodes)}"
        outputs = [ir.Value(name=f"{name}_{place}") for place in range(len(sizes))]
        lengths = self._number("sizes", np.array(sizes, np.int64))
        self._nodes.append(ir.node("Split", [value, lengths], {"axis": axis}, outputs=outputs, name=name))
        return outputs

    def _axes(self, *axes: int) -> ir.Value:
        return self._number("axes", np.array(axes, np.int64))

    def _number(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> ir.Value:
        key = name, values.tobytes()  # what every step takes is stored once
        if key not in self._numbers:
            self._numbers[key] = constant(self._graph, f"{self._node.name}_{name}", values)
        return self._numbers[key]
