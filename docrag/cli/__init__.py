"""The command line: one module per command, results on stdout, progress, errors and the log on stderr.

The module of a command is imported when it runs, so that one command does not wait for what others need.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Annotated

import typer

from docrag import __version__
from docrag.cli.command import VerboseOption
from docrag.cli.lazy_group import CommandEntry, LazyGroup


class Commands(LazyGroup):
    """The commands of docrag, in the order in which help lists them."""

    entries = (
        CommandEntry("ingest", "Read, embed and store every page; files that did not change are skipped."),
        CommandEntry("search", "Find the pages that answer a question, and the region of each that matched."),
        CommandEntry(
            "label",
            "Print which of some labels each page looks like, without training (zero-shot classification).",
        ),
        CommandEntry(
            "tune",
            "Measure how many pages a search must compare exactly, and keep the fastest plan that is good "
            "enough.",
        ),
        CommandEntry("status", "Print what the index holds and which models it was built with."),
        CommandEntry("remove", "Remove a file from the index; the file itself is not touched."),
        CommandEntry(
            "estimate",
            "Estimate disk space, memory and search time for an index of these pages, without loading any "
            "model.",
        ),
        CommandEntry(
            "export",
            "Write pages, vectors and images into a folder of npz files; only parts that changed are "
            "written.",
        ),
        CommandEntry(
            "import",
            "Create an index from an export, or bring one up to date with it; no model is needed.",
            function="import_",
        ),
        CommandEntry(
            "eval",
            "Search for judged questions, and report nDCG, recall, MRR and latency.",
            function="evaluate",
        ),
        CommandEntry(
            "migrate",
            "Rebuild an index with other models or another layout; searches use the old one until it is "
            "done.",
        ),
        CommandEntry(
            "models",
            "List the encoders for --late, --image and --text, grouped by the library that runs them.",
        ),
        CommandEntry(
            "doctor",
            "Check models, index and disk; the exit code is 1 when something does not work.",
        ),
        CommandEntry(
            "demo", "Ingest five small example PDFs and show the pages that answer three questions."
        ),
        CommandEntry("serve", "Search an index in a browser, and from programs through an HTTP API."),
        CommandEntry(
            "stop",
            "End the process that holds the index in a directory; whoever uses the index next starts it "
            "again.",
        ),
        CommandEntry(
            "mcp",
            "Let an assistant search an index and look at its pages (MCP: Claude, Cursor, VS Code and "
            "others).",
        ),
    )


app = typer.Typer(
    name="docrag",
    cls=Commands,
    help="Find the page that answers a question, in folders of PDFs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"docrag {__version__}")
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
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for them takes 30 ms
    app()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the command in good order at the first Ctrl-C; a second one must not cut that short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
