"""Reports: tables, plots and pages that show results."""
