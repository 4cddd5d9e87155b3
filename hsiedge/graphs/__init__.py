"""Graphs: ONNX in, ONNX out; at its edge, export from torch."""
