"""The command line: typer commands, one file for each group, no logic of their own; heavy imports wait for their command."""
