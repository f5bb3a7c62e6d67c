"""docrag export, import and estimate."""

from __future__ import annotations

import json

from docrag.demo import documents
from tests.samples import FERRY, write_pdf


def test_an_index_goes_out_and_in(docrag, demo_copy, tmp_path):
    here = demo_copy()
    folder, there = tmp_path / "export", tmp_path / "there"
    [held] = docrag("status", "--index", here, "--json").lines
    [done] = docrag("export", folder, "--index", here, "--json").lines
    beside = {"captions": 0, "addressed": 0, "left_out": []}
    moved = {"pages": held["pages"], "parts": 1, "written": held["pages"], **beside}
    assert done == {"folder": str(folder), **moved}
    [again] = docrag("export", folder, "--index", here, "--json").lines
    assert again == {**done, "written": 0}
    [came] = docrag("import", folder, "--index", there, "--json").lines
    assert came == {"index": str(there), **moved}
    [moved] = docrag("status", "--index", there, "--json").lines
    for key in ("documents", "files", "pages", "fingerprint"):
        assert moved[key] == held[key]
    assert "exported" in docrag("export", folder, "--index", here).out
    assert "0 written" in docrag("import", folder, "--index", there).out
    address = ("--image-base-url", "http://pages.example")
    assert "pages now have the new URL" in docrag("import", folder, "--index", there, *address).out
    assert (
        "pages now have the new URL"
        in docrag("ingest", documents(), "--index", there, *address[:1], "http://x").out
    )
    assert docrag("import", folder, "--index", there, "--image-base-url", "pages.example").code == 2


def test_what_was_tuned_goes_along_and_is_told_when_it_does_not(docrag, demo_copy, tmp_path):
    here = demo_copy()
    [held] = docrag("status", "--index", here, "--json").lines
    assert held["tuning"] == ""
    plan = {"prefetch": {"pooled": 20}, "sieve": 0, "measured": {"pages": held["pages"], "recall": 0.99}}
    (here / "search.json").write_text(json.dumps(plan))
    docrag("export", tmp_path / "export", "--index", here)
    docrag("import", tmp_path / "export", "--index", tmp_path / "there")
    assert f"on {held['pages']} pages, recall 0.990" in docrag("status", "--index", tmp_path / "there").out
    plan["measured"]["pages"] = 2
    (here / "search.json").write_text(json.dumps(plan))
    assert "too few for" in docrag("status", "--index", here).out
    docrag("remove", documents() / "tarn12_manual.pdf", "--index", here)
    assert "too few" in docrag("status", "--index", here).out
    docrag("export", tmp_path / "export", "--index", here)
    came = docrag("import", tmp_path / "export", "--index", tmp_path / "there")
    assert came.code == 0
    assert "not taken over: search.json" in came.err


def test_what_cannot_be_moved_is_told(docrag, demo_copy, tmp_path):
    nothing = docrag("import", tmp_path / "none", "--index", tmp_path / "there")
    assert nothing.code == 1
    assert "docrag export" in nothing.err
    assert docrag("export", tmp_path / "export", "--index", tmp_path / "none").code == 1
    here = demo_copy()
    docrag("export", tmp_path / "export", "--index", here)
    part = tmp_path / "export" / "part-00000.npz"
    part.write_bytes(part.read_bytes()[:-1])
    damaged = docrag("import", tmp_path / "export", "--index", tmp_path / "there")
    assert damaged.code == 1
    assert "part-00000.npz" in damaged.err


def test_estimate_counts_the_pages_of_files(docrag, tmp_path):
    write_pdf(tmp_path / "docs" / "two.pdf", FERRY, FERRY)
    [told] = docrag("estimate", tmp_path / "docs", "--late", "colqwen2", "--json").lines
    assert (told["pages"], told["shape"]["vectors"], told["shape"]["dim"]) == (2, 755, 128)
    assert told["disk"]["patches"] == 2 * 755 * 128 * 2
    assert told["disk"]["total"] == sum(size for part, size in told["disk"].items() if part != "total")
    assert (told["datatype"], told["pooling"], told["refused"]) == ("float16", "rows", [])
    assert all(limit["ok"] for limit in told["limits"])
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"nothing")
    failed = docrag("estimate", tmp_path / "docs")
    assert failed.code == 3
    assert "broken.pdf" in failed.err


def test_estimate_for_a_number_of_pages(docrag):
    asked = ("estimate", "--pages", 1_000_000, "--late", "colpali", "--keep-patches", "inked")
    printed = docrag(*asked, "--datatype", "turbo8").out
    for words in ("1,000,000 by colpali", "57% of the patches inked", "page images", "gRPC", "OVER"):
        assert words in printed
    assert docrag("estimate").code == 2
    assert docrag("estimate", "x.pdf", "--pages", 5).code == 2
