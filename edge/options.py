"""Command-line options that commands of several modules share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

config = click.option("--config", type=click.Path(path_type=Path), help="edge-cxr.toml to read settings from.")


def json_output(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)
