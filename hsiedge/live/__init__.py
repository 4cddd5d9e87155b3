"""Live: lines of a camera in, labels, a growing map and decisions out."""
