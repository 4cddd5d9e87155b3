"""Base of the passes: each changes the model itself, and says in the log what it did."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError


class GraphPass(InPlacePass):
    """Pass on a graph: `rewrite` does its work, `fault` tells whether some of it is left."""

    def rewrite(self, model: ir.Model) -> str:
        """Changes the model, and gives what was done, for the log; "" where nothing was."""
        raise NotImplementedError

    def fault(self, model: ir.Model) -> str:
        """Fault of a graph that the pass has been through; "" where it has none."""
        return ""

    def call(self, model: ir.Model) -> PassResult:
        """Works on the model itself."""
        done = self.rewrite(model)
        if done:
            logging.getLogger(type(self).__module__).info("%s", done)
        return PassResult(model, bool(done))

    def ensures(self, model: ir.Model) -> None:
        """Raises PostconditionError where the graph has a fault."""
        fault = self.fault(model)
        if fault:
            raise PostconditionError(fault)
