"""Bad input: one line that says what happened, one that says what to do, the right code, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pymupdf
import pytest

from docrag import Index
from tests.samples import FERRY, write_pdf


def assert_error(outcome, code: int, *words: str) -> None:
    """The command failed with an exit code, a message of these words and a hint, and no traceback."""
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    message = " ".join(outcome.err.split())
    for word in words:
        assert word in message
    assert "hint:" in outcome.err


def test_a_missing_folder(docrag, tmp_path):
    assert_error(docrag("ingest", tmp_path / "nowhere", "--index", tmp_path / "index"), 1, "nowhere")


def test_no_index(docrag, tmp_path):
    for command in (["search", "ferry"], ["status"], ["remove", "x.pdf"]):
        assert_error(docrag(*command, "--index", tmp_path / "none"), 1, "no index", "docrag ingest")


def test_an_empty_query(docrag, demo_uri):
    assert_error(docrag("search", "  ", "--index", demo_uri), 2, "query is empty")


@pytest.mark.parametrize("filter", ["page", "=x", "page=0", "page=two"])
def test_a_filter_that_is_none(docrag, demo_uri, filter):
    assert_error(docrag("search", "ferry", "--index", demo_uri, "--filter", filter), 2, filter)


def test_an_unknown_model(docrag, tmp_path):
    outcome = docrag("ingest", tmp_path, "--index", tmp_path / "index", "--late", "nonesuch")
    assert_error(outcome, 2, "nonesuch", "minilm")


def test_an_unknown_mode_is_a_usage_error(docrag, demo_uri):
    assert docrag("search", "ferry", "--index", demo_uri, "--mode", "psychic").code == 2


def test_an_index_made_by_another_encoder(docrag, demo_copy):
    uri = demo_copy()
    fingerprint = uri / "fingerprint.json"
    fingerprint.write_text(fingerprint.read_text().replace("version 1", "version 0"))
    assert_error(docrag("search", "ferry", "--index", uri), 1, "built with", "asked for")


@pytest.mark.slow
def test_an_index_in_use_by_another_process(docrag_process, demo_copy):
    """Both open it in their own process (DOCRAG_IN_PROCESS), so they cannot share it."""
    uri = demo_copy()
    holder = f"end process {os.getpid()}"
    with Index.open(uri):
        outcome = docrag_process("search", "ferry", "--index", uri)
        assert_error(outcome, 1, "open already", holder, "without in_process")


def test_a_directory_that_is_something_else(docrag, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    assert_error(docrag("ingest", tmp_path, "--index", tmp_path / "letters"), 1, "not an index")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passwords", "reason"), [([], "no password was given"), (["wrong"], "none of the passwords")]
)
def test_a_password_missing_or_wrong(docrag, tmp_path, passwords, reason):
    plain = write_pdf(tmp_path / "plain.pdf", FERRY)
    locked = tmp_path / "locked.pdf"
    with pymupdf.open(plain) as file:
        file.save(locked, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="s3cret", owner_pw="owner")
    given = [word for password in passwords for word in ("--password", password)]
    failed = docrag("ingest", locked, "--index", tmp_path / "index", *given)
    assert failed.code == 3
    assert reason in failed.err
    assert "--password" in failed.err
    assert docrag("ingest", locked, "--index", tmp_path / "index", *given, "--password", "s3cret").code == 0


def test_a_setting_that_cannot_be_used(docrag, demo_uri, monkeypatch):
    monkeypatch.setenv("DOCRAG_RENDER_SIDE", "huge")
    assert_error(docrag("status", "--index", demo_uri), 2, "render_side")


def test_a_settings_file_that_cannot_be_read(docrag, tmp_path, monkeypatch):
    (tmp_path / "docrag.toml").write_text("index = [")
    monkeypatch.chdir(tmp_path)
    assert_error(docrag("status"), 2, "docrag.toml")


@pytest.mark.slow
@pytest.mark.parametrize("trap", ["", "trap '' INT; "], ids=["in the foreground", "in the background"])
def test_ctrl_c_ends_an_ingest_in_good_order(docrag, tmp_path, trap):
    """A shell without job control starts background jobs with SIGINT ignored."""
    write_pdf(tmp_path / "docs" / "1.pdf", FERRY)
    write_pdf(tmp_path / "docs" / "2.pdf", *(f"{FERRY} {number}" for number in range(300)))
    index = ("--index", str(tmp_path / "index"))
    command = [sys.executable, "-m", "docrag", "ingest", str(tmp_path / "docs"), *index, "--json"]
    with subprocess.Popen(
        ["sh", "-c", f'{trap}exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "1.pdf" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert docrag("status", *index, "--json").lines[0]["files"] >= 1


def test_questions_that_cannot_be_read(docrag, demo_uri, tmp_path):
    (tmp_path / "q.jsonl").write_text("{}\n")
    files = ("--queries", tmp_path / "q.jsonl", "--qrels", tmp_path / "none.tsv")
    assert_error(docrag("eval", *files, "--index", demo_uri), 2, "q.jsonl")
