"""docrag demo: ingest the documents that come with docrag, and ask them three questions."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption
from docrag.cli.search import shorten, write_marked
from docrag.errors import SettingsError
from docrag.search.hit_json import hit_json


def demo(
    index: IndexOption = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Copy the example PDFs into this folder, ingest them there, and keep them.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest five small example PDFs and show the pages that answer three questions."""
    from docrag.demo import QUESTIONS, documents
    from docrag.index.index import Index

    paths = copy_documents(documents(), keep) if keep else [documents()]
    uri = index or str(Path(tempfile.mkdtemp(prefix="docrag-demo-")) / "index")
    answers: list[dict[str, Any]] = []
    with Index.open(settings=read_settings(index=uri)) as opened:
        report = opened.ingest(paths)
        if not as_json:
            results.print(
                f"{len(report.files)} documents, {report.pages} pages read in {report.seconds:.1f} s\n"
            )
        for question in QUESTIONS:
            hit = opened.search(question.text, k=3)[0]
            marked = write_marked(hit)
            answers.append({"question": question.text, "hit": hit_json(hit), "marked": str(marked)})
            if not as_json:
                region = shorten(hit.regions[0].text, 300) if hit.regions else ""
                results.print(question.text, style="bold")
                results.print(f"  {Path(hit.file).name}, page {hit.page} (score {hit.score:.3f})")
                results.print(f"  {region}")
                results.print(f"  marked page: {marked}\n", soft_wrap=True)
    if as_json:
        print_json({"index": uri, "summary": report.summary(), "answers": answers})
        return
    if keep:
        results.print(f"The example PDFs are in {keep}", soft_wrap=True)
    results.print(f"Ask more: docrag search 'your question' --index {uri}", soft_wrap=True)


def copy_documents(source: Path, folder: Path) -> list[Path]:
    """Copy the example PDFs into a folder, which is made if it does not exist; the paths of the copies.

    Raises:
        SettingsError: The folder cannot be written, or holds another file of one of these names.
    """
    copies = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for original in sorted(source.iterdir()):
            copy = folder / original.name
            if not copy.exists():
                shutil.copyfile(original, copy)
            elif copy.read_bytes() != original.read_bytes():
                raise SettingsError(f"{copy} exists and is another file", "give --keep another folder")
            copies.append(copy)
    except OSError as error:
        raise SettingsError(
            f"cannot write to {folder}: {error.strerror}", "give --keep another folder"
        ) from error
    return copies
