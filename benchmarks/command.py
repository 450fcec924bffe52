"""A benchmark as a command of its own: words on stderr, and faults as one line and an exit code."""

import sys

import click

from edge.errors import EdgeError


def say(words: str) -> None:
    click.echo(words, err=True)


def run_command(command: click.Command) -> None:
    """Ends the process where the command fails."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except EdgeError as fault:
        say(f"Error: {fault}")
        sys.exit(fault.exit_code)
