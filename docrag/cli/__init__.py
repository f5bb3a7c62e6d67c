"""The command line: one module per command, results on stdout, progress, errors and the log on stderr."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Annotated

import typer

from docrag.cli import (
    demo,
    doctor,
    estimate,
    evaluate,
    export,
    import_,
    ingest,
    label,
    mcp,
    migrate,
    models,
    remove,
    search,
    serve,
    status,
    stop,
    tune,
)
from docrag.cli.command import VerboseOption, command

app = typer.Typer(
    name="docrag",
    help="Find the page that answers a question, in folders of PDFs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ingest")(command(ingest.ingest))
app.command("search")(command(search.search))
app.command("label")(command(label.label))
app.command("tune")(command(tune.tune))
app.command("status")(command(status.status))
app.command("remove")(command(remove.remove))
app.command("estimate")(command(estimate.estimate))
app.command("export")(command(export.export))
app.command("import")(command(import_.import_))
app.command("eval")(command(evaluate.evaluate))
app.command("migrate")(command(migrate.migrate))
app.command("models")(command(models.models))
app.command("doctor")(command(doctor.doctor))
app.command("demo")(command(demo.demo))
app.command("serve")(command(serve.serve))
app.command("stop")(command(stop.stop))
app.command("mcp")(command(mcp.mcp))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"docrag {version('docrag-qdrant')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    verbose: VerboseOption = 0,  # read by docrag.cli.command, which adds the same option to every command
) -> None:
    """Find the page that answers a question, in folders of PDFs."""


def main() -> None:
    """Run a command; exit code 0 success, 1 failure, 2 usage, 3 some documents failed, 130 interrupted."""
    signal.signal(signal.SIGINT, _interrupt)  # also where the shell started this with SIGINT ignored
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # docrag's own errors say what to do
    app()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the command in good order at the first Ctrl-C; a second one must not cut that short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
