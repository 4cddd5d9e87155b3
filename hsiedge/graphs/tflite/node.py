"""A node of an ONNX graph on its way to TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from hsiedge.graphs.operator_view import Operator
from hsiedge.graphs.tflite.tensor_view import TensorView


@dataclass
class Node(Operator[TensorView]):
    """A node of an ONNX graph, its computed inputs as TensorFlow's tensors.

    Attributes:
        quantized: the graph is going to be an integer one: weights are rounded, and means are convolutions.
        rows: what the graph is fed with, any number of patches; None where it is one strip.
    """

    quantized: bool
    rows: tf.Tensor | None = None
