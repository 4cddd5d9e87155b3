"""The bars of whole scenes at sensor speed: what `benchmarks/peers.py` measures, and how its results are told."""
