"""Passes: each file rewrites one thing in an ONNX graph."""
