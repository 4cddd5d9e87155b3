"""Results of a study: figures, tables, plots and page."""
