"""docrag tune: find what exact search finds, in less time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from docrag.cli.console import IndexOption, JsonOption, errors, print_json, results
from docrag.cli.options import DeviceOption, DtypeOption

if TYPE_CHECKING:
    from docrag.tuning.alternatives import Alternative
    from docrag.tuning.tune import MeasuredStages, Tuning


def tune(
    index: IndexOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="queries.jsonl: one {_id, text} a line [headings and paragraphs of the index]."),
    ] = None,
    recall: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of the exact ten best pages that must be found.")
    ] = 0.98,
    compare: Annotated[
        bool, typer.Option("--compare", help="Try other poolings, datatypes, quantizations on a sample.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and change nothing.")] = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how many pages need exact comparison, and let the index search so from now on."""
    from docrag.evaluate.qrels import read_queries
    from docrag.index.index import Index
    from docrag.settings import load_settings

    questions = [one.text for one in read_queries(queries).values()] if queries else []
    settings = load_settings(index=index, device=device, dtype=dtype)
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
    """The command line's contract for what was measured."""
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
    """One plan and what it gave."""
    return {
        "prefetch": dict(trial.stages.prefetch),
        "sieve": trial.stages.sieve,
        "recall": round(trial.recall, 4),
        "latency_ms": round(trial.latency_ms, 2),
    }


def print_tuning(tuning: Tuning, recall: float) -> None:
    """A table with a row for each plan, the chosen one marked."""
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


def print_alternatives(tried: Sequence[Alternative]) -> None:
    """A table with a row for each pooling, each datatype and each quantization."""
    from docrag.tuning.alternatives import OVERSAMPLING

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("on a sample of pages")
    for name in ("recall@10", "KB a page", "ms", "ms to pool"):
        table.add_column(name, justify="right")
    for one in tried:
        making = f"{one.making_ms:.1f}" if one.making_ms else ""
        table.add_row(one.what, f"{one.recall:.3f}", f"{one.kb_a_page:.1f}", f"{one.latency_ms:.1f}", making)
    results.print(table)
    results.print("recall: of a pooling in the tenth of the pages that it proposes, else in the ten best")
    results.print(f"rescored: {OVERSAMPLING:g} times as many pages, by the float16 vectors")
