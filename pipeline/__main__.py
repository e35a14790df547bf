"""Runs the command line as `python -m impasto`."""

from .cli.main import main

main()
