"""`python -m hsiedge`."""

from hsiedge.cli.main import main

main()
