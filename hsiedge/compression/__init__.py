"""Compression: a checkpoint in, a smaller checkpoint out, fine-tuned by the same loop that trained it."""
