"""What is made of stored graphs stays what it was: scene graphs, graphs with an affine in front, TensorFlow functions.

`python -m tests.graphs.graph_digests` renews the digests; the commit that does so says which behaviour changed, and why.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("onnx_ir", reason="scene graphs are made with onnx-ir")

from tests.graphs.graph_digests import DIGESTS, MAKERS, digests_of

pytestmark = pytest.mark.slow
ROUNDING = {"rtol": 1e-6, "atol": 1e-4}  # of sums of weights, whose last bits differ between processors


@pytest.mark.parametrize(
    "maker", [pytest.param(maker, marks=pytest.mark.slow if maker.startswith("tflite") else ()) for maker in MAKERS]
)
def test_what_is_made_of_stored_graphs(maker: str) -> None:
    if maker.startswith("tflite"):
        pytest.importorskip("tensorflow", reason="TFLite files are made with TensorFlow")
    expected, digests = json.loads(DIGESTS.read_text())[maker], digests_of(maker)
    assert digests.keys() == expected.keys()
    for name, digest in digests.items():
        assert digest | {"numbers": []} == expected[name] | {"numbers": []}, name
        numbers = [entry.get("numbers", []) for entry in (digest, expected[name])]
        np.testing.assert_allclose(*numbers, **ROUNDING, err_msg=name)
