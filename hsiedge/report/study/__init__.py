"""A study's results: its figures, tables, plots and page."""
