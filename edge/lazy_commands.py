"""A click group some of whose commands live in packages that the box may lack: they are loaded only when called."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

Lazy = Mapping[str, tuple[str, str, str]]  # name: module, attribute, one line of help


class LazyGroup(click.Group):
    """lazy: the commands that are not imported before they are asked for."""

    def __init__(self, *arguments: Any, lazy: Lazy, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute, help_text = self.lazy[cmd_name]
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as missing:
            return _needs_extra(cmd_name, help_text, missing.name or "a package")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = {name: command.get_short_help_str(90) for name, command in self.commands.items()}
        rows = sorted({**own, **{name: help_text for name, (_, _, help_text) in self.lazy.items()}}.items())
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _needs_extra(name: str, help_text: str, module: str) -> click.Command:
    @click.command(name, help=help_text, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1)
    def command(arguments: tuple[str, ...]) -> None:
        raise click.UsageError(f"`{name}` needs {module}. In a checkout, run: pip install '.[export]'")

    return command
