"""A recipe of the package's own."""

from hsiedge.graphs.quantization.recipes import Recipe

PER_TENSOR = Recipe("one scale a tensor", per_channel=False)
