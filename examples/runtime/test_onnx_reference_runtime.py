from pathlib import Path

from hsiedge.shipped import shipped
from hsiedge.testing import check_runtime

FILE = Path(__file__).with_name("onnx_reference_runtime.py")


def test_the_shipped_float_model() -> None:
    model = shipped(".onnx")
    check_runtime(f"{FILE}:ENGINE", model, reference=model)


def test_the_shipped_int8_model() -> None:
    model = shipped("-int8.onnx")
    check_runtime(f"{FILE}:ENGINE", model, reference=model)
