"""docrag tune: find the pages that exact search finds, in less time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from docrag.cli.console import errors, print_json, results
from docrag.cli.options import DeviceOptions, IndexOption, JsonOption
from docrag.errors import SettingsError

if TYPE_CHECKING:
    from docrag.tuning.alternatives import Alternative
    from docrag.tuning.tune import MeasuredStages, Tuning


def tune(
    devices: DeviceOptions,
    index: IndexOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="queries.jsonl: an object {_id, text} on each line (default: headings and paragraphs)."
        ),
    ] = None,
    recall: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of the exact ten best pages that must be found.")
    ] = 0.98,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also try other poolings, datatypes and quantizations on a sample of pages."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how many pages a search must compare exactly, and keep the fastest plan that is good enough."""
    from docrag.evaluate.qrels import read_queries
    from docrag.index.index import Index

    questions = [query.text for query in read_queries(queries).values()] if queries else []
    if queries and not questions:
        raise SettingsError(
            f"{queries} has no queries",
            "give another file, or leave out --queries to use headings and paragraphs",
        )
    settings = devices.settings(index=index)
    with Index.open(settings=settings, create=False) as opened, errors.status("searching exactly ..."):
        tuning = opened.tune(questions, recall=recall, compare=compare, write=not dry_run)
    if as_json:
        print_json(tuning_json(tuning, recall))
    else:
        print_tuning(tuning, recall)
    if tuning.chosen is None:
        errors.print(f"no plan finds {recall:.0%} of the exact ten best pages; the index stays as it is")
        raise typer.Exit(1)


def tuning_json(tuning: Tuning, recall: float) -> dict[str, Any]:
    """What was measured, as `docrag tune --json` prints it."""
    return {
        "pages": tuning.pages,
        "questions": tuning.questions,
        "recall_asked": recall,
        "exact_ms": round(tuning.exact_ms, 2),
        "trials": [trial_json(trial) for trial in tuning.trials],
        "chosen": trial_json(tuning.chosen) if tuning.chosen else None,
        "alternatives": [asdict(other) for other in tuning.alternatives],
    }


def trial_json(trial: MeasuredStages) -> dict[str, Any]:
    """One plan, its recall and its latency."""
    return {
        "prefetch": dict(trial.stages.prefetch),
        "sieve": trial.stages.sieve,
        "recall": round(trial.recall, 4),
        "latency_ms": round(trial.latency_ms, 2),
    }


def print_tuning(tuning: Tuning, recall: float) -> None:
    """A table with a row for each plan; the chosen one is marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pages proposed by")
    for name in ("sieve", "recall@10", "ms"):
        table.add_column(name, justify="right")
    for trial in tuning.trials:
        proposed = ", ".join(f"{name} {pages}" for name, pages in trial.stages.prefetch.items() if pages)
        mark = " (default)" if trial is tuning.trials[-1] else ""
        mark += " *" if trial == tuning.chosen else ""
        sieve = str(trial.stages.sieve or "-")
        table.add_row(proposed + mark, sieve, f"{trial.recall:.3f}", f"{trial.latency_ms:.1f}")
    table.add_row("exact search", "-", "1.000", f"{tuning.exact_ms:.1f}")
    results.print(table)
    results.print(f"{tuning.pages} pages, {tuning.questions} questions")
    if tuning.alternatives:
        print_alternatives(tuning.alternatives)
    if tuning.chosen:
        results.print(f"* the simplest of the fastest with a recall of {recall:g}")


def print_alternatives(alternatives: Sequence[Alternative]) -> None:
    """A table with a row for each pooling, each datatype and each quantization."""
    from docrag.tuning.alternatives import OVERSAMPLING

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("on a sample of pages")
    for name in ("recall@10", "KB a page", "ms", "ms to pool"):
        table.add_column(name, justify="right")
    for each in alternatives:
        pooling_ms = f"{each.making_ms:.1f}" if each.making_ms else ""
        table.add_row(
            each.what, f"{each.recall:.3f}", f"{each.kb_a_page:.1f}", f"{each.latency_ms:.1f}", pooling_ms
        )
    results.print(table)
    results.print(
        "recall of a pooling: in the tenth of the pages that it proposes; of the others: in the ten best"
    )
    results.print(f"rescored: {OVERSAMPLING:g} times as many pages, with the float16 vectors")
