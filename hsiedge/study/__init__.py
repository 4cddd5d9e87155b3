"""The study, the search for a budget, the demo."""
