"""docrag search: the pages that answer a question."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from docrag.cli.console import print_json, results
from docrag.cli.options import DeviceOptions, IndexOption, JsonOption
from docrag.errors import QueryError
from docrag.index.one_search import search_index
from docrag.search.hit_json import hit_json
from docrag.types import Hit, Mode


def search(
    devices: DeviceOptions,
    query: Annotated[str, typer.Argument(help="A question, or some words.", show_default=False)] = "",
    index: IndexOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Number of pages.")] = 10,
    mode: Annotated[
        Mode,
        typer.Option(
            help="How pages are ranked: late (MaxSim), cosine (one vector per page), text (BM25), or hybrid "
            "(all of these)."
        ),
    ] = "hybrid",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Only pages whose metadata has this value; may be repeated, and then all must match.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image", help="Find pages that look like this image, alone or together with a question."
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio", help="Find pages that match this recording, where the index has an encoder for sound."
        ),
    ] = None,
    open_best: Annotated[
        bool, typer.Option("--open", help="Save the best page with its regions marked, and print the path.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find the pages that answer a question, and the region of each that matched."""
    settings = devices.settings(index=index)
    wanted: dict[str, Any] = {"query": query, "k": k, "mode": mode, "filter": parse_filter(filter or [])}
    hits, took_ms = search_index(settings, wanted, image, audio)
    marked = write_marked(hits[0]) if open_best and hits else None
    if as_json:
        response: dict[str, Any] = {"query": query, "mode": mode, "took_ms": round(took_ms, 1)}
        if image:
            response["image"] = str(image)
        if audio:
            response["audio"] = str(audio)
        response["hits"] = [hit_json(hit) for hit in hits]
        if marked:
            response["marked"] = str(marked)
        print_json(response)
        return
    print_hits(hits)
    if marked:
        results.print(f"marked page: {marked}", soft_wrap=True)


def parse_filter(conditions: Sequence[str]) -> dict[str, str]:
    """The conditions of --filter as a mapping.

    Raises:
        QueryError: One is not key=value, or a key is given two values.

    >>> parse_filter(["file_name=a.pdf", "page=3"])
    {'file_name': 'a.pdf', 'page': '3'}
    """
    filter: dict[str, str] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals or not key or not value:
            raise QueryError(
                f"--filter {condition}: not key=value", "write it like --filter file_name=report.pdf"
            )
        if filter.setdefault(key, value) != value:
            raise QueryError(
                f"--filter {key} is given two values",
                "a page must match all filters, so give one value per key",
            )
    return filter


def print_hits(hits: Sequence[Hit]) -> None:
    """A table of score, file, page and the text of the best region."""
    from rich.table import Table  # slow to import, and not needed for JSON
    from rich.text import Text

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
    """The text on one line, cut at a word after at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most].rsplit(" ", 1)[0] + " ..."


def write_marked(hit: Hit) -> Path:
    """Save the page image of a hit with its regions marked, in a temporary folder; the path of the file."""
    from docrag.search.crops import mark_regions

    path = Path(tempfile.mkdtemp(prefix="docrag-")) / f"{Path(hit.file).stem}-page-{hit.page}.png"
    mark_regions(hit.image(), hit.regions).save(path)
    return path
