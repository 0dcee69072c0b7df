"""``python -m terminals`` is the ``terminals`` command."""

from terminals.cli import main

main(prog_name="terminals")
