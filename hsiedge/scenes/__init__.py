"""Scenes: cubes with label maps, how they are found, read, divided and cut into patches."""
