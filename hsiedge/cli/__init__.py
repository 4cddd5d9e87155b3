"""The command line: typer commands, one file for each group, no logic of their own. Nothing heavy is imported before it is needed."""
