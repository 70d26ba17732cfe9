"""`python -m modelyard`."""

from .cli.main import main

main()
