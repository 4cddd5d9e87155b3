"""What each ONNX operator becomes in a scene graph: `densify` walks, here is what is done at each node."""
