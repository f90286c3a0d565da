"""`python -m interp.cli`."""

from interp.cli.main import main

main()
