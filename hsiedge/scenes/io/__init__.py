"""Files of cubes and labels: one reader a format."""
