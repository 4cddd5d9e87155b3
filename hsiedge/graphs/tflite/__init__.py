"""TFLite: our closed set of ONNX operators in TensorFlow's, channels last, and from there through its converter."""
