"""Scene graphs: what each ONNX operator of a patch graph becomes in one, the walk that does it, and the file."""
