"""docrag eval: how well an index answers judged questions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from docrag.cli.console import IndexOption, JsonOption, errors, print_json, results
from docrag.cli.options import DeviceOption, DtypeOption
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from docrag.evaluate.qrels import JudgedQuery, Qrels
    from docrag.index.index import Index

DEPTH = 10
"""Pages asked of each query: no reported metric looks further."""


def evaluate(
    queries: Annotated[Path, typer.Option(help="queries.jsonl: one {_id, text, metadata} a line.")],
    qrels: Annotated[Path, typer.Option(help="qrels.tsv: query-id, corpus-id (file name#page), score.")],
    index: IndexOption = None,
    mode: Annotated[Mode, typer.Option(help="Which signals rank the pages.")] = "hybrid",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for judged questions and report nDCG, recall, MRR and latency."""
    from docrag.evaluate.measure import report
    from docrag.evaluate.qrels import read_qrels, read_queries
    from docrag.index.index import Index
    from docrag.settings import load_settings

    asked = read_queries(queries)
    judged = read_qrels(qrels)
    settings = load_settings(index=index, device=device, dtype=dtype)
    with Index.open(settings=settings, create=False) as opened:
        run, seconds = search_all(opened, asked, judged, mode)
    measured = report(mode, run, judged, asked, seconds)
    if as_json:
        print_json(measured)
    else:
        print_measured(measured)


def search_all(
    index: Index, asked: Mapping[str, JudgedQuery], judged: Qrels, mode: Mode
) -> tuple[dict[str, list[str]], list[float]]:
    """Ask every judged question: corpus ids best first, by query id, and the seconds of each search."""
    # Loads models and maps vectors: latency is that of a process that goes on.
    index.search("page", k=1, mode=mode)
    run: dict[str, list[str]] = {}
    seconds: list[float] = []
    for query_id, pages in track(
        judged.items(), console=errors, transient=True, disable=not errors.is_terminal
    ):
        if query_id in asked:
            started = time.perf_counter()
            hits = index.search(asked[query_id].text, k=DEPTH, mode=mode)
            seconds.append(time.perf_counter() - started)
            run[query_id] = [corpus_id(hit, pages) for hit in hits]
    return run, seconds


def corpus_id(hit: Hit, judged: Mapping[str, int]) -> str:
    """`file name#page`; of a document with several paths, the one that is judged."""
    names = [f"{Path(source).name}#{hit.page}" for source in hit.metadata["sources"]]
    return next((name for name in names if name in judged), names[0])


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
