"""Export: checkpoints, anyone's modules and files without a Card, to ONNX or ORT with one."""
