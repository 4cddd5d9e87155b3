"""TFLite: our closed set of ONNX operators in TensorFlow's, channels last, and from there through its converter."""

import os

from hsiedge.runtimes.litert import unsaid

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with unsaid():  # TensorFlow tells of the machine's processors and cards when it is imported
    import tensorflow  # noqa: F401
