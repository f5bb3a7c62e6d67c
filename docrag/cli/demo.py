"""docrag demo: ingest the documents that come with docrag, and ask them three questions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from docrag.cli.console import IndexOption, JsonOption, print_json, results
from docrag.cli.search import shorten, write_marked
from docrag.search.hit_json import hit_json


def demo(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Ingest five small PDFs and show the pages that answer three questions."""
    from docrag.demo import QUESTIONS, documents
    from docrag.index.index import Index
    from docrag.settings import load_settings

    where = index or str(Path(tempfile.mkdtemp(prefix="docrag-demo-")) / "index")
    answers: list[dict[str, Any]] = []
    with Index.open(settings=load_settings(index=where)) as opened:
        report = opened.ingest([documents()])
        if not as_json:
            results.print(
                f"{len(report.files)} documents, {report.pages} pages read in {report.seconds:.1f} s\n"
            )
        for question in QUESTIONS:
            hit = opened.search(question.text, k=3)[0]
            marked = write_marked(hit)
            answers.append({"question": question.text, "hit": hit_json(hit), "marked": str(marked)})
            if not as_json:
                results.print(question.text, style="bold")
                region = shorten(hit.regions[0].text, 300) if hit.regions else ""
                results.print(f"  {Path(hit.file).name}, page {hit.page} (score {hit.score:.3f})")
                results.print(f"  {region}")
                results.print(f"  marked page: {marked}\n", soft_wrap=True)
    if as_json:
        print_json({"index": where, "summary": report.summary(), "answers": answers})
    else:
        results.print(
            f"Ask more: docrag search 'your question' --index {where}", soft_wrap=True, markup=False
        )
