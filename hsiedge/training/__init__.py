"""Training: the fit loop, and checkpoints (safetensors with a Card inside)."""
