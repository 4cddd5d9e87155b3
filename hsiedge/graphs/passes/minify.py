"""Pass: the same graph in fewer bytes. In a small INT8 file, names and remarks take more of them than weights."""

from __future__ import annotations

import copy
import itertools
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hsiedge.graphs.one_use import one_use

_WITH_WEIGHTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SPATIAL = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
_BY_AXIS = {"pads": 0, "dilations": 1, "strides": 1}  # their defaults, along each axis
_QUANTIZERS_OWN = ("onnx.infer", "onnx.quant.pre_process")
_PLAIN = ("FLOAT", "FLOAT16", "INT8", "UINT8", "INT16", "UINT16", "INT32", "INT64")
_LETTERS = string.ascii_letters + "_"


def minify(model: Any) -> Any:
    """Leaves out what no runtime reads, and writes short what only has to be told apart.

    Requires: a graph without inner graphs, functions and sparse initializers; any other is returned as it is.
    Does: gives values names of one letter or two; takes the names of nodes without weights away, and docs, value_info,
    metadata of graph and nodes, attributes that say the default, initializers that nothing uses or that equal another (but int8
    ones, of which each use keeps its own: `one_use`), zero points of biases and of the weights of convolutions (they are 0;
    those of linear layers stay, which onnxruntime computes in float without them), and opsets that no node is of.
    Ensures: outputs are the same to the bit. Names of inputs, outputs and nodes with weights are kept, and the model's
    metadata but for what a quantizer left there for itself.
    """
    if model.functions or model.graph.sparse_initializer or any(map(_has_graphs, model.graph.node)):
        return model
    made = copy.deepcopy(model)
    _say_less(made)
    for node in made.graph.node:
        _drop_defaults(node, made)
    _drop_zero_points(made.graph)
    _share_initializers(made.graph)
    made = one_use(made)
    _rename(made.graph, dict(_short_names(made.graph)))
    return made


def _has_graphs(node: Any) -> bool:
    return any(entry.HasField("g") or len(entry.graphs) for entry in node.attribute)


def _say_less(model: Any) -> None:
    graph = model.graph
    model.producer_name, model.producer_version, model.doc_string, graph.doc_string = "hsiedge", "", "", ""
    domains = {node.domain for node in graph.node}
    _keep(model.opset_import, [entry for entry in model.opset_import if entry.domain in domains])
    _keep(model.metadata_props, [entry for entry in model.metadata_props if entry.key not in _QUANTIZERS_OWN])
    for entries in (graph.metadata_props, graph.value_info, graph.quantization_annotation):
        del entries[:]
    for entry in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    for node in graph.node:
        if node.op_type not in _WITH_WEIGHTS:
            node.name = ""


def _drop_defaults(node: Any, model: Any) -> None:
    from onnx import defs, helper

    opset = next(entry.version for entry in model.opset_import if entry.domain == node.domain)
    known = defs.get_schema(node.op_type, opset, node.domain).attributes if defs.has(node.op_type, node.domain) else {}
    kept = []
    for entry in node.attribute:
        value = helper.get_attribute_value(entry)
        default = known[entry.name].default_value if entry.name in known else None
        by_schema = default is not None and default.type == entry.type and helper.get_attribute_value(default) == value
        by_axis = node.op_type in _SPATIAL and entry.name in _BY_AXIS and set(value) == {_BY_AXIS[entry.name]}
        if not by_schema and not by_axis:
            kept.append(entry)
    _keep(node.attribute, kept)


def _drop_zero_points(graph: Any) -> None:
    """Those of biases, and of the weights of convolutions, which are 0: DequantizeLinear takes 0 where none is said."""
    from onnx import TensorProto, numpy_helper

    zeros = {tensor.name for tensor in graph.initializer if not numpy_helper.to_array(tensor).any()}
    wide = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT32}  # as no weight is
    stored = {tensor.name for tensor in graph.initializer}
    filters = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) != 3 or node.input[2] not in zeros:
            continue
        if node.input[0] in stored and (node.input[2] in wide or node.output[0] in filters):
            del node.input[2]


def _share_initializers(graph: Any) -> None:
    from onnx import TensorProto, numpy_helper

    plain = [getattr(TensorProto, name) for name in _PLAIN]
    used = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    public = _public(graph)
    first: dict[bytes, str] = {}
    kept, same = [], {}
    for tensor in graph.initializer:
        if tensor.name not in used | public:
            continue
        if tensor.data_type in plain:  # as raw bytes: a list of numbers takes up to ten bytes for a negative one
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        nameless = copy.deepcopy(tensor)
        nameless.name = ""
        key = nameless.SerializeToString(deterministic=True)
        if tensor.name in public or key not in first:  # an input's own weights may be fed in the place of these
            kept.append(tensor)
            if tensor.name not in public:
                first[key] = tensor.name
        else:
            same[tensor.name] = first[key]
    _keep(graph.initializer, kept)
    _rename(graph, same)


def _short_names(graph: Any) -> Iterator[tuple[str, str]]:
    """(name, short name) of each value but inputs and outputs; the shortest for what is named most often."""
    public = _public(graph)
    uses = Counter(name for node in graph.node for name in (*node.input, *node.output) if name and name not in public)
    letters = itertools.chain(_LETTERS, (a + b for a in _LETTERS for b in _LETTERS + string.digits))
    free = (name for name in itertools.chain(letters, (f"v{number}" for number in itertools.count(100))) if name not in public)
    return zip((name for name, _ in uses.most_common()), free)


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        for entries in (node.input, node.output):
            for place, name in enumerate(entries):
                entries[place] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


def _public(graph: Any) -> set[str]:
    return {entry.name for entry in (*graph.input, *graph.output)}


def _keep(entries: Any, kept: Sequence[Any]) -> None:
    kept = [copy.deepcopy(entry) for entry in kept]  # they vanish with the list
    del entries[:]
    entries.extend(kept)
