"""Preprocessing of a graph: what it does to the bands of each pixel, linearly, up to and in its first layer."""
