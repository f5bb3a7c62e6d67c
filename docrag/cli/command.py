"""How a function becomes a command: groups of options, -v, and errors as two lines and an exit code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from docrag.cli.console import errors, log_to_stderr
from docrag.errors import DocragError

INTERRUPTED = 130

VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        metavar="",
        help="Log to stderr what docrag decides; -vv logs details too, including the text of queries.",
    ),
]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer should run it.

    A parameter whose type is a dataclass of options (docrag.cli.options) becomes one option for each of its
    fields. --verbose is added. A DocragError ends the command with its message, its hint and its exit code.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _options_of(hints[name])
        else:
            parameters.append(_keyword(name, hints[name], parameter.default))
    parameters.append(_keyword("verbose", VerboseOption, 0))
    parameters.append(_keyword("context", typer.Context, inspect.Parameter.empty))

    @functools.wraps(function)
    def run(*, verbose: int, context: typer.Context, **values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        with log_to_stderr(verbose + context.find_root().params.get("verbose", 0)):
            _report_errors(functools.partial(function, **values))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_keyword(field.name, hints[field.name], field.default) for field in fields(group)]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _report_errors(function: Callable[[], None]) -> None:
    try:
        function()
    except DocragError as error:
        errors.print(f"error: {error.message}", style="bold red")
        if error.hint:
            errors.print(f"hint:  {error.hint}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        errors.print("interrupted: what was reported is stored, and the same command continues from there")
        raise typer.Exit(INTERRUPTED) from None
