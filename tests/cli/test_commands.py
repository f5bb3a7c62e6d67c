"""Every command, its JSON and its exit codes: the contract that scripts rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from docrag.demo import QUESTIONS, documents
from tests.samples import APPLE, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant

HIT_KEYS = {"rank", "score", "scores", "file", "page", "page_id", "text", "regions"}


@pytest.mark.slow
def test_ingest_prints_a_line_for_each_document_and_a_summary(docrag, tmp_path):
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, APPLE)
    (tmp_path / "docs" / "broken.pdf").write_text("not a PDF")
    arguments = ("ingest", tmp_path / "docs", "--index", tmp_path / "index", "--json")
    first = docrag(*arguments)
    *files, last = first.lines
    by_name = {Path(line["file"]).name: line for line in files}
    assert first.code == 3
    assert (by_name["ferry.pdf"]["status"], by_name["ferry.pdf"]["pages"], by_name["ferry.pdf"]["error"]) == (
        "added",
        2,
        None,
    )
    assert by_name["broken.pdf"]["status"] == "failed"
    assert "not a PDF" in by_name["broken.pdf"]["error"]
    assert (last["summary"]["added"], last["summary"]["failed"], last["summary"]["pages"]) == (1, 1, 2)
    (tmp_path / "docs" / "broken.pdf").unlink()
    assert docrag(*arguments).code == 0


@pytest.mark.slow
def test_ingest_reports_what_failed_and_what_to_do(docrag, tmp_path):
    (tmp_path / "broken.pdf").write_text("not a PDF")
    outcome = docrag("ingest", tmp_path / "broken.pdf", "--index", tmp_path / "index")
    assert outcome.code == 3
    assert "1 failed" in outcome.out
    assert "broken.pdf" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_search_json(docrag, demo_uri):
    question = QUESTIONS[0]
    outcome = docrag("search", question.text, "--index", demo_uri, "-k", "3", "--json")
    [answer] = outcome.lines
    assert outcome.code == 0
    assert (answer["query"], answer["mode"], len(answer["hits"])) == (question.text, "hybrid", 3)
    assert answer["took_ms"] > 0
    best = answer["hits"][0]
    assert set(best) == HIT_KEYS
    assert (best["rank"], best["page"], Path(best["file"]).name) == (1, question.page, question.file)
    assert set(best["scores"]) <= {"late", "cosine", "text"}
    region = best["regions"][0]
    assert set(region) == {"box", "score", "text"}
    assert all(0 <= side <= 1 for side in region["box"])


def test_search_prints_file_page_and_region(docrag, demo_uri):
    outcome = docrag("search", QUESTIONS[2].text, "--index", demo_uri, "-k", "1")
    assert QUESTIONS[2].file in outcome.out.replace("\n", "")
    assert str(QUESTIONS[2].page) in outcome.out


@pytest.mark.parametrize("mode", ["hybrid", "late", "cosine", "text"])
def test_every_mode_searches(docrag, demo_uri, mode):
    [answer] = docrag("search", "ferry", "--index", demo_uri, "--mode", mode, "--json").lines
    assert answer["hits"]
    if mode != "hybrid":
        assert set(answer["hits"][0]["scores"]) == {mode}


def test_filters_mean_and(docrag, demo_uri):
    file = documents() / QUESTIONS[0].file
    arguments = ("search", "ferry", "--index", demo_uri, "--json", "--filter", f"source={file}")
    [answer] = docrag(*arguments, "--filter", "page=2").lines
    assert [(hit["file"], hit["page"]) for hit in answer["hits"]] == [(str(file), 2)]
    [answer] = docrag(*arguments, "--filter", "file_name=other.pdf").lines
    assert answer["hits"] == []


def test_search_open_writes_the_marked_page(docrag, demo_uri):
    [answer] = docrag("search", "ferry", "--index", demo_uri, "--open", "--json").lines
    with Image.open(answer["marked"]) as marked:
        assert max(marked.size) == 1280
    printed = docrag("search", "ferry", "--index", demo_uri, "--open").out
    assert "marked page: " in printed


def test_status_and_remove(docrag, demo_copy, tmp_path):
    uri = demo_copy()
    [status] = docrag("status", "--index", uri, "--json").lines
    assert (status["documents"], status["files"]) == (5, 5)
    [removed] = docrag("remove", documents() / QUESTIONS[0].file, "--index", uri, "--json").lines
    assert (removed["status"], removed["error"]) == ("removed", None)
    [after] = docrag("status", "--index", uri, "--json").lines
    assert after["pages"] == status["pages"] - removed["pages"]
    assert "4 in 4 files" in docrag("status", "--index", uri).out
    gone = docrag("remove", documents() / QUESTIONS[0].file, "--index", uri)
    assert gone.code == 1
    assert "not in the index" in gone.err


def test_eval_json(docrag, demo_uri, tmp_path):
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    rows = [{"_id": str(i), "text": q.text, "metadata": {"source": "demo"}} for i, q in enumerate(QUESTIONS)]
    queries.write_text("\n".join(map(json.dumps, rows)))
    lines = ["query-id\tcorpus-id\tscore", *(f"{i}\t{q.file}#{q.page}\t1" for i, q in enumerate(QUESTIONS))]
    qrels.write_text("\n".join(lines))
    arguments = ("eval", "--queries", queries, "--qrels", qrels, "--index", demo_uri)
    [measured] = docrag(*arguments, "--json").lines
    assert (measured["mode"], measured["queries"]) == ("hybrid", 3)
    assert measured["metrics"]["R@1"] == 1.0
    assert measured["by_source"]["demo"] == measured["metrics"]
    assert 0 < measured["latency_ms"]["p50"] <= measured["latency_ms"]["p95"]
    assert "nDCG@10" in docrag(*arguments, "--mode", "late").out


def test_models_lists_minilm(docrag):
    [listed] = docrag("models", "--json").lines
    assert {row["option"] for row in listed["models"] if row["name"] == "minilm"} == {"--late", "--text"}
    assert "minilm" in docrag("models").out


def test_doctor(docrag, demo_uri, tmp_path):
    outcome = docrag("doctor", "--index", demo_uri, "--json")
    [checks] = outcome.lines
    assert outcome.code == 0
    assert all(check["ok"] for check in checks.values())
    assert "5 documents" in checks["store"]["detail"]
    assert "no index" in docrag("doctor", "--index", tmp_path / "none").out


def test_doctor_of_a_collection_on_a_server(docrag, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    with FakeQdrant() as qdrant:
        [checks] = docrag("doctor", "--index", qdrant.uri, "--json").lines
    assert f"no index at {qdrant.uri} yet" in checks["store"]["detail"]
    assert str(tmp_path) in checks["disk"]["detail"]


@pytest.mark.slow
def test_demo_answers_its_questions(docrag, tmp_path):
    [shown] = docrag("demo", "--index", tmp_path / "demo", "--json").lines
    assert shown["summary"]["failed"] == 0
    for question, answer in zip(QUESTIONS, shown["answers"], strict=True):
        hit = answer["hit"]
        assert (Path(hit["file"]).name, hit["page"]) == (question.file, question.page)
        assert hit["regions"]
        assert Path(answer["marked"]).is_file()


@pytest.mark.slow
def test_demo_keeps_its_documents(docrag, tmp_path):
    folder = tmp_path / "new" / "docs"
    arguments = ("demo", "--index", tmp_path / "demo", "--keep", folder)
    printed = docrag(*arguments)
    assert printed.code == 0, printed.err
    assert f"The example PDFs are in {folder}" in printed.out
    copies = sorted(folder.iterdir())
    assert [copy.name for copy in copies] == sorted(path.name for path in documents().iterdir())
    [shown] = docrag(*arguments, "--json").lines  # again: the copies are the same
    assert shown["summary"]["unchanged"] == len(copies)
    assert {Path(answer["hit"]["file"]).parent for answer in shown["answers"]} == {folder}
    again = docrag("ingest", folder, "--index", tmp_path / "demo", "--json").lines[-1]["summary"]
    assert again["unchanged"] == len(copies)


def test_demo_overwrites_nothing(docrag, tmp_path):
    own = tmp_path / "docs" / "tarn12_manual.pdf"
    own.parent.mkdir()
    own.write_text("mine")
    (tmp_path / "file").write_text("no folder")
    for folder, words in ((own.parent, "is another file"), (tmp_path / "file", "cannot write to")):
        refused = docrag("demo", "--index", tmp_path / "demo", "--keep", folder)
        assert refused.code == 2
        assert words in refused.err
        assert "another folder" in refused.err
    assert own.read_text() == "mine"
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_names_with_brackets_are_printed_as_they_are(docrag, tmp_path):
    path = write_pdf(tmp_path / "a[b] [x].pdf", FERRY)
    index = tmp_path / "index"
    assert docrag("ingest", path, "--index", index).code == 0
    assert "a[b] [x].pdf" in docrag("search", "ferry", "--index", index).out
    assert "a[b] [x].pdf" in docrag("remove", path, "--index", index).out


@pytest.mark.slow
def test_a_second_machine_adopts_what_is_stored_and_remove_names_the_other(
    docrag, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    file = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, APPLE)

    def run(machine: str, *arguments: object):
        monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / machine))
        return docrag(*arguments, "--index", server.uri)

    with FakeQdrant() as server:
        assert "1 added, 0 updated, 0 unchanged" in run("a", "ingest", file).out
        outcome = run("b", "ingest", file, "--json")
        added, last = outcome.lines
        assert (outcome.code, added["status"], added["pages"]) == (0, "adopted", 2)
        assert (last["summary"]["adopted"], last["summary"]["pages"]) == (1, 0)
        [status] = run("b", "status", "--json").lines
        assert (status["documents"], status["stored_documents"], status["pages"]) == (1, 1, 2)
        printed = run("c", "status").out
        assert "documents  1, 2 pages in the collection" in printed
        assert "here       0 in 0 files, 0 pages held as " in printed
        assert f"held by    {status['holder']}: 2 pages" in printed
        kept = run("a", "remove", file)
        assert (kept.code, kept.out) == (3, "")
        assert f"stays in the index: other machines hold its pages: {status['holder']}" in kept.err
        [held] = run("a", "remove", file, "--json").lines
        assert (held["status"], held["pages"], held["held_by"]) == ("held", 0, [status["holder"]])
        [released] = run("a", "remove", "--release", status["holder"], "--json").lines
        assert (released["status"], released["pages"]) == ("released", 2)
        gone = run("a", "remove", file)
        assert (gone.code, "not in the index" in gone.err) == (1, True)
        assert run("a", "remove").code == 2
