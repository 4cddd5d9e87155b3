"""The study: what compressing a net costs and saves."""
