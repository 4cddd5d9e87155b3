"""Compression: makes smaller checkpoints of checkpoints, fine-tuned by the loop that trained them."""
