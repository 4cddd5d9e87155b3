"""A package that adds its own nets, formats, runtimes and recipes to hsiedge, by entry points."""
