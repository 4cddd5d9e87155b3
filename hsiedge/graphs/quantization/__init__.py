"""Quantization: a float ONNX file in, an INT8 one out, judged on real pixels."""
