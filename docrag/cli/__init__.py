"""The command line: one module a command, results on stdout, progress and errors on stderr."""

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
    tune,
)
from docrag.cli.console import reported

app = typer.Typer(
    name="docrag",
    help="Find the page that answers a question, in folders of PDFs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ingest")(reported(ingest.ingest))
app.command("search")(reported(search.search))
app.command("label")(reported(label.label))
app.command("tune")(reported(tune.tune))
app.command("status")(reported(status.status))
app.command("remove")(reported(remove.remove))
app.command("estimate")(reported(estimate.estimate))
app.command("export")(reported(export.export))
app.command("import")(reported(import_.import_))
app.command("eval")(reported(evaluate.evaluate))
app.command("migrate")(reported(migrate.migrate))
app.command("models")(reported(models.models))
app.command("doctor")(reported(doctor.doctor))
app.command("demo")(reported(demo.demo))
app.command("serve")(reported(serve.serve))
app.command("mcp")(reported(mcp.mcp))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"docrag {version('docrag-qdrant')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Find the page that answers a question, in folders of PDFs."""


def main() -> None:
    """Run a command; exit code 0 well, 1 failed, 2 usage, 3 some documents failed, 130 interrupted."""
    signal.signal(signal.SIGINT, _interrupt)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what people can act on is an error of docrag's
    app()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The first Ctrl-C ends the command in good order; a second one must not end that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
