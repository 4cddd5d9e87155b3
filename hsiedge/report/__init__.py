"""Report: what results are shown with."""
