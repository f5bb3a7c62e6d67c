"""docrag search: the pages that answer a question."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from docrag.cli.console import IndexOption, JsonOption, print_json, results
from docrag.cli.options import DeviceOption, DtypeOption, FilterOption, LookAlikeOption, RecordingOption
from docrag.cli.remote_search import search_there
from docrag.errors import IndexInUse, QueryError
from docrag.search.hit_json import hit_json
from docrag.types import Hit, Mode

if TYPE_CHECKING:
    from docrag.settings import Settings


def search(
    query: Annotated[str, typer.Argument(help="A question or some words.", show_default=False)] = "",
    index: IndexOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many pages.")] = 10,
    mode: Annotated[Mode, typer.Option(help="Which signals rank the pages.")] = "hybrid",
    filter: FilterOption = None,
    image: LookAlikeOption = None,
    audio: RecordingOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    open_best: Annotated[
        bool, typer.Option("--open", help="Write the best page with its regions marked, and say where.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the pages that answer a question, with the region of each that matched."""
    from docrag.settings import load_settings

    asked: dict[str, Any] = {"query": query, "k": k, "mode": mode, "filter": parse_filter(filter or [])}
    settings = load_settings(index=index, device=device, dtype=dtype)
    try:
        hits, took_ms = _search_here(settings, asked, image, audio)
    except IndexInUse:
        if audio is not None or (found := search_there(settings, asked, image, picture=open_best)) is None:
            raise
        hits, took_ms = found
    marked = write_marked(hits[0]) if open_best and hits else None
    if as_json:
        answer: dict[str, Any] = {"query": query, "mode": mode, "took_ms": round(took_ms, 1)}
        answer |= {name: str(path) for name, path in (("image", image), ("audio", audio)) if path}
        print_json(
            answer | {"hits": [hit_json(hit) for hit in hits]} | ({"marked": str(marked)} if marked else {})
        )
        return
    print_hits(hits)
    if marked:
        results.print(f"marked page: {marked}", soft_wrap=True)


def _search_here(
    settings: Settings, asked: dict[str, Any], image: Path | None, audio: Path | None
) -> tuple[list[Hit], float]:
    """Hits, and how many milliseconds they took."""
    from docrag.index.index import Index

    with Index.open(settings=settings, create=False) as opened:
        started = time.perf_counter()
        hits = opened.search(**asked, image=image, audio=audio)
        return hits, (time.perf_counter() - started) * 1000


def parse_filter(given: Sequence[str]) -> dict[str, str]:
    """The filters of the command line as a mapping.

    Raises:
        QueryError: One is not key=value, or a key comes twice.

    >>> parse_filter(["file_name=a.pdf", "page=3"])
    {'file_name': 'a.pdf', 'page': '3'}
    """
    wanted: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key or not value:
            raise QueryError(f"--filter {one}: not key=value", "such as --filter file_name=report.pdf")
        if wanted.setdefault(key, value) != value:
            raise QueryError(f"--filter {key} is given twice", "a page has one value, and filters mean and")
    return wanted


def print_hits(hits: Sequence[Hit]) -> None:
    """A table with file, page, score and the text of the best region."""
    if not hits:
        results.print("no page found")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score", justify="right")
    table.add_column("file", overflow="fold", max_width=36)
    table.add_column("page", justify="right")
    table.add_column("best region", overflow="fold")
    for hit in hits:
        text = (hit.regions[0].text if hit.regions else "") or hit.text
        table.add_row(f"{hit.score:.3f}", Text(Path(hit.file).name), str(hit.page), Text(shorten(text, 240)))
    results.print(table)


def shorten(text: str, most: int) -> str:
    """Text on one line, cut at a word."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most].rsplit(" ", 1)[0] + " ..."


def write_marked(hit: Hit) -> Path:
    """Write the page image of a hit with its regions marked; the path of the file."""
    from docrag.search.crops import mark_regions

    path = Path(tempfile.mkdtemp(prefix="docrag-")) / f"{Path(hit.file).stem}-page-{hit.page}.png"
    mark_regions(hit.image(), hit.regions).save(path)
    return path
