"""What the commands share: the two consoles and the options that all of them take."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console

from docrag.errors import DocragError

P = ParamSpec("P")

SOME_FAILED = 3
INTERRUPTED = 130

results = Console(highlight=False, markup=False)
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

IndexOption = Annotated[
    str | None, typer.Option("--index", metavar="URI", help="The index [DOCRAG_INDEX, else ./docrag-index].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """The command, ending with one line for a person and an exit code where it raises a DocragError."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except DocragError as error:
            errors.print(f"error: {error.message}", style="bold red")
            if error.hint:
                errors.print(f"hint:  {error.hint}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            errors.print("interrupted: what was reported is safe, and the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None

    return run
