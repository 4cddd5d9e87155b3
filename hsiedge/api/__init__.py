"""Public nouns, thin over the rooms below: scenes, checkpoints, models and maps, with what can be done with each as methods.

`hsiedge` exports them on first use. Paths and objects are accepted alike, options are keyword-only, and torch, onnx and
tensorflow are imported by the methods that need them, not before.
"""
