"""Preprocessing that a net's authors did outside of it, fitted on a scene and put in front of its graph."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError
from hsiedge.graphs.onnx_io import inputs_of

if TYPE_CHECKING:
    from onnx import ModelProto

_LEAST = 1e-12  # of a standard deviation: a band that does not vary is left as it is


@dataclass(frozen=True)
class Outside:
    """Bands minus `offset`, divided by `scale`, then projected on `components`.

    Attributes:
        offset: `(bands,)`.
        scale: `(bands,)`; ones where nothing is divided.
        components: `(K, bands)`, or None.
        text: what it does, for people.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64] | None
    text: str

    @classmethod
    def fitted(cls, spectra: NDArray[Any], *, standardize: bool, pca: int | None, pixels: str) -> Outside:
        """Preprocessing fitted on spectra `(n, bands)`.

        Components have the signs that scikit-learn gives them: their largest number is positive.

        Args:
            standardize: mean 0 and standard deviation 1 a band; before the components, where both are asked for.
            pca: number of principal components that the net takes; None to leave the bands.
            pixels: whose spectra they are, for people.

        Raises:
            OptionError: more components than bands or spectra, or less than one.
        """
        values = spectra.astype(np.float64)
        offset, scale = values.mean(0), np.ones(values.shape[1])
        if standardize:
            scale = np.where(values.std(0) > _LEAST, values.std(0), 1.0)
        done, components = ["each band standardized"] if standardize else [], None
        if pca is not None:
            if not 1 <= pca <= min(values.shape):
                raise OptionError(f"from 1 to {min(values.shape)} components are there", option="pca", value=pca)
            rows = np.linalg.svd((values - offset) / scale, full_matrices=False)[2][:pca]
            components = rows * np.sign(rows[np.arange(pca), np.abs(rows).argmax(1)])[:, None]
            done.append(f"{pca} principal components")
        return cls(offset, scale, components, f"{', then '.join(done)}, fitted on {len(values)} {pixels}")

    def __call__(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """Patches `(n, bands, p, p)` as the net takes them, float32."""
        values = (patches - self.offset[:, None, None]) / self.scale[:, None, None]
        if self.components is not None:
            values = np.einsum("nbyx,kb->nkyx", values, self.components)
        return values.astype(np.float32)

    def before(self, model: ModelProto) -> ModelProto:
        """A graph `(N, K, p, p)` with these steps in front, so that it takes `(N, bands, p, p)`, float32."""
        from onnx import TensorProto, helper, numpy_helper

        changed = copy.deepcopy(model)
        entry = inputs_of(changed)[0]
        kind, name = entry.type.tensor_type, entry.name
        column = (1, -1, 1, 1)
        constants = {"outside_offset": self.offset.reshape(column), "outside_factor": (1 / self.scale).reshape(column)}
        nodes = [("Sub", ["outside_offset"]), ("Mul", ["outside_factor"])]
        if self.components is not None:
            constants["outside_components"] = self.components[:, :, None, None]
            nodes.append(("Conv", ["outside_components"]))
        last = "bands"
        for place, (operator, inputs) in enumerate(nodes):
            output = name if place == len(nodes) - 1 and kind.elem_type == TensorProto.FLOAT else f"outside_{operator}"
            changed.graph.node.insert(place, helper.make_node(operator, [last, *inputs], [output], name=f"outside_{operator}"))
            last = output
        if last != name:
            cast = helper.make_node("Cast", [last], [name], name="outside_Cast", to=kind.elem_type)
            changed.graph.node.insert(len(nodes), cast)
        sizes = [size.dim_value for size in kind.shape.dim[2:]]
        changed.graph.input.remove(entry)
        changed.graph.input.insert(
            0, helper.make_tensor_value_info("bands", TensorProto.FLOAT, ["N", len(self.offset), *sizes])
        )
        changed.graph.initializer.extend(
            numpy_helper.from_array(values.astype(np.float32), key) for key, values in constants.items()
        )
        return changed
