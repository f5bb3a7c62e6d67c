"""docrag eval: how well an index answers judged questions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from docrag.cli.console import errors, print_json, results
from docrag.cli.options import DeviceOptions, IndexOption, JsonOption
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from docrag.evaluate.qrels import JudgedQuery, Qrels
    from docrag.index.index import Index

DEPTH = 10
"""Pages retrieved for each question: no reported metric looks further."""


def evaluate(
    devices: DeviceOptions,
    queries: Annotated[
        Path, typer.Option(help="queries.jsonl: an object {_id, text, metadata} on each line.")
    ],
    qrels: Annotated[
        Path,
        typer.Option(help="qrels.tsv: query-id, corpus-id (file name#page) and score, separated by tabs."),
    ],
    index: IndexOption = None,
    mode: Annotated[Mode, typer.Option(help="How pages are ranked.")] = "hybrid",
    as_json: JsonOption = False,
) -> None:
    """Search for judged questions, and report nDCG, recall, MRR and latency."""
    from docrag.evaluate.measure import report
    from docrag.evaluate.qrels import read_qrels, read_queries
    from docrag.index.index import Index

    questions = read_queries(queries)
    judgements = read_qrels(qrels)
    with Index.open(settings=devices.settings(index=index), create=False) as opened:
        run, seconds = search_all(opened, questions, judgements, mode)
    measured = report(mode, run, judgements, questions, seconds)
    if as_json:
        print_json(measured)
    else:
        print_measured(measured)


def search_all(
    index: Index, questions: Mapping[str, JudgedQuery], judgements: Qrels, mode: Mode
) -> tuple[dict[str, list[str]], list[float]]:
    """Search for every judged question.

    Returns:
        By query id the corpus ids, best first; and the seconds that each search took.
    """
    # Loads models and maps vectors first, so that latencies are those of a process that keeps running.
    index.search("page", k=1, mode=mode, regions=False)
    run: dict[str, list[str]] = {}
    seconds: list[float] = []
    for query_id, judged_pages in track(
        judgements.items(), console=errors.console, transient=True, disable=not errors.console.is_terminal
    ):
        if query_id in questions:
            started = time.perf_counter()
            hits = index.search(questions[query_id].text, k=DEPTH, mode=mode, regions=False)
            seconds.append(time.perf_counter() - started)
            run[query_id] = [corpus_id(hit, judged_pages) for hit in hits]
    return run, seconds


def corpus_id(hit: Hit, judged_pages: Mapping[str, int]) -> str:
    """`file name#page`; for a document with several paths, the one that is judged."""
    names = [f"{Path(source).name}#{hit.page}" for source in hit.metadata["sources"]]
    return next((name for name in names if name in judged_pages), names[0])


def print_measured(measured: Mapping[str, Any]) -> None:
    """A table with a row for all questions and one for each source."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"{measured['mode']}, {measured['queries']} queries")
    for name in measured["metrics"]:
        table.add_column(name, justify="right")
    for source, metrics in {"all": measured["metrics"], **measured["by_source"]}.items():
        table.add_row(source, *(f"{value:.3f}" for value in metrics.values()))
    results.print(table)
    latency = measured["latency_ms"]
    results.print(
        f"a search took {latency['p50']:.0f} ms (median), {latency['p95']:.0f} ms (95th percentile)"
    )
