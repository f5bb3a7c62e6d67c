"""A group of commands that imports the module of a command when the command runs, and not before.

So `docrag --version` and `docrag --help` import none of them, and `docrag search` only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from docrag.cli.command import command


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """What is known of a command before its module is imported."""

    name: str
    summary: str
    """What the list of commands says about it: the docstring of its function. A test compares the two."""
    function: str = ""
    """The name of its function, and of the module in docrag.cli that holds it. By default that of the
    command."""

    def load_function(self) -> Callable[..., None]:
        """Import the module of the command; its function."""
        name = self.function or self.name
        function: Callable[..., None] = getattr(import_module(f"docrag.cli.{name}"), name)
        return function

    def load(self) -> TyperCommand:
        """The command with all its options."""
        app = typer.Typer(add_completion=False)
        app.command(self.name)(command(self.load_function()))
        return cast(TyperCommand, typer.main.get_command(app))

    def listed(self) -> TyperCommand:
        """The command without options and without anything to run, for the list of commands."""
        return TyperCommand(self.name, help=self.summary)


class LoadedCommands(Mapping[str, TyperCommand]):
    """The commands by name; one is loaded when it is first looked up."""

    def __init__(self, entries: Sequence[CommandEntry]) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._loaded: dict[str, TyperCommand] = {}

    def __getitem__(self, name: str) -> TyperCommand:
        if name not in self._loaded:
            self._loaded[name] = self._entries[name].load()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class LazyGroup(TyperGroup):
    """The base of a group of commands; a subclass names them in `entries`."""

    entries: tuple[CommandEntry, ...] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = LoadedCommands(self.entries)  # type: ignore[assignment]  # nothing adds to them

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """A command as help and completion list it; None if there is none of that name."""
        for entry in self.entries:
            if entry.name == cmd_name:
                return entry.listed()
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the arguments name, ready to run, and the arguments that are left for it."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if name and listed else None, rest
