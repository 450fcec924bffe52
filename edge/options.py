"""Command-line options that commands of several modules share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge.config import INSTALLED, file_to_read


def _file(context: click.Context, parameter: click.Parameter, given: str | None) -> Path | None:
    return file_to_read(given, os.environ)


config = click.option(
    "--config", metavar="FILE", callback=_file, help=f"edge-cxr.toml to read settings from  [{INSTALLED}, if there]."
)


def json_output(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)
