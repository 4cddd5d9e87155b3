"""Studies of what compressing a net costs and saves."""
