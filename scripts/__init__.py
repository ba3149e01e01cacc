"""Thin commands: `python -m scripts.<name>`; each says what it does with `--help`."""
