"""docrag export, import and estimate."""

from __future__ import annotations

import json

import pytest

from docrag.demo import documents
from tests.samples import FERRY, write_pdf


@pytest.mark.slow
def test_an_index_goes_out_and_in(docrag, demo_copy, tmp_path):
    here = demo_copy()
    folder, there = tmp_path / "export", tmp_path / "there"
    [status] = docrag("status", "--index", here, "--json").lines
    [exported] = docrag("export", folder, "--index", here, "--json").lines
    beside = {"captions": 0, "addressed": 0, "left_out": []}
    moved = {"pages": status["pages"], "parts": 1, "written": status["pages"], **beside}
    assert exported == {"folder": str(folder), **moved}
    [again] = docrag("export", folder, "--index", here, "--json").lines
    assert again == {**exported, "written": 0}
    [imported] = docrag("import", folder, "--index", there, "--json").lines
    assert imported == {"index": str(there), **moved}
    [moved] = docrag("status", "--index", there, "--json").lines
    for key in ("documents", "files", "pages", "fingerprint"):
        assert moved[key] == status[key]
    assert "exported" in docrag("export", folder, "--index", here).out
    assert "0 written" in docrag("import", folder, "--index", there).out
    address = ("--image-base-url", "http://pages.example")
    assert "pages now have the new URL" in docrag("import", folder, "--index", there, *address).out
    assert (
        "pages now have the new URL"
        in docrag("ingest", documents(), "--index", there, *address[:1], "http://x").out
    )
    assert docrag("import", folder, "--index", there, "--image-base-url", "pages.example").code == 2


@pytest.mark.slow
def test_a_tuned_plan_is_exported_and_a_plan_left_out_is_reported(docrag, demo_copy, tmp_path):
    here = demo_copy()
    [status] = docrag("status", "--index", here, "--json").lines
    assert status["tuning"] == ""
    plan = {"prefetch": {"pooled": 20}, "sieve": 0, "measured": {"pages": status["pages"], "recall": 0.99}}
    (here / "search.json").write_text(json.dumps(plan))
    docrag("export", tmp_path / "export", "--index", here)
    docrag("import", tmp_path / "export", "--index", tmp_path / "there")
    assert f"on {status['pages']} pages, recall 0.990" in docrag("status", "--index", tmp_path / "there").out
    plan["measured"]["pages"] = 2
    (here / "search.json").write_text(json.dumps(plan))
    assert "too few for" in docrag("status", "--index", here).out
    docrag("remove", documents() / "tarn12_manual.pdf", "--index", here)
    assert "too few" in docrag("status", "--index", here).out
    docrag("export", tmp_path / "export", "--index", here)
    imported = docrag("import", tmp_path / "export", "--index", tmp_path / "there")
    assert imported.code == 0
    assert "not imported: search.json" in imported.err


def test_an_export_that_is_missing_or_damaged_is_an_error(docrag, demo_copy, tmp_path):
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
    [estimate] = docrag("estimate", tmp_path / "docs", "--late", "colqwen2", "--json").lines
    assert (estimate["pages"], estimate["shape"]["vectors"], estimate["shape"]["dim"]) == (2, 755, 128)
    assert estimate["disk"]["patches"] == 2 * 755 * 128 * 2
    assert estimate["disk"]["total"] == sum(
        size for part, size in estimate["disk"].items() if part != "total"
    )
    assert (estimate["datatype"], estimate["pooling"], estimate["refused"]) == ("float16", "rows", [])
    assert all(limit["ok"] for limit in estimate["limits"])
    (tmp_path / "docs" / "broken.pdf").write_bytes(b"nothing")
    failed = docrag("estimate", tmp_path / "docs")
    assert failed.code == 3
    assert "broken.pdf" in failed.err


def test_estimate_for_a_number_of_pages(docrag):
    arguments = ("estimate", "--pages", 1_000_000, "--late", "colpali", "--keep-patches", "inked")
    printed = docrag(*arguments, "--datatype", "turbo8").out
    for words in ("1,000,000 by colpali", "57% of the patches inked", "page images", "gRPC", "OVER"):
        assert words in printed
    assert docrag("estimate").code == 2
    assert docrag("estimate", "x.pdf", "--pages", 5).code == 2
