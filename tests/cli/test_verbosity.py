"""-v and -vv: what docrag logs, on stderr, and never more than asked for."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest

from docrag.cli.console import LOGGED, ConsoleHandler, log_to_stderr, mask_passwords, read_settings
from docrag.settings import Settings

QUESTION = "Why did the gearbox bearing fail?"


@pytest.mark.parametrize(
    "arguments", [("-v", "status"), ("status", "-v"), ("--verbose", "status"), ("status", "--verbose")]
)
def test_verbose_stands_before_or_after_the_command(docrag, demo_uri, arguments):
    outcome = docrag(*arguments, "--index", demo_uri, "--json")
    assert outcome.code == 0
    [line] = [line for line in outcome.err.splitlines() if "INFO docrag.cli.console: settings: " in line]
    assert f"index='{demo_uri}'" in line
    assert len(outcome.lines) == 1  # stdout stays JSON


def test_without_verbose_nothing_is_logged(docrag, demo_uri):
    assert docrag("status", "--index", demo_uri).err == ""


@pytest.mark.parametrize(
    ("verbosity", "logged"), [(0, ["WARNING"]), (1, ["INFO", "WARNING"]), (2, ["DEBUG", "INFO", "WARNING"])]
)
def test_levels(capsys, verbosity, logged):
    with log_to_stderr(verbosity):
        for name in ("docrag.read", "mcp_docrag.server", "somebody.else"):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING):
                logging.getLogger(name).log(level, "of %s", name)
    lines = capsys.readouterr().err.splitlines()
    own = [line.split()[1] for line in lines if "of docrag.read" in line]
    assert own == logged == [line.split()[1] for line in lines if "of mcp_docrag.server" in line]
    assert [line.split()[1] for line in lines if "of somebody.else" in line] == ["WARNING"]
    assert all(len(line.split()[0].split(":")) == 3 for line in lines)  # the time


def test_the_loggers_are_left_as_they_were():
    levels = [logging.getLogger(name).level for name in LOGGED]
    handlers = list(logging.getLogger().handlers)
    with log_to_stderr(2):
        assert any(isinstance(handler, ConsoleHandler) for handler in logging.getLogger().handlers)
    assert [logging.getLogger(name).level for name in LOGGED] == levels
    assert logging.getLogger().handlers == handlers


def test_importing_docrag_configures_no_logging():
    code = (
        "import logging, docrag.cli, docrag.index.index\n"
        "loggers = [logging.getLogger(), logging.getLogger('docrag')]\n"
        "print([h for logger in loggers for h in logger.handlers if not isinstance(h, logging.NullHandler)])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_settings_are_logged_without_secrets(caplog, monkeypatch):
    monkeypatch.setenv("DOCRAG_CAPTION_KEY", "secret-key")
    monkeypatch.setenv("DOCRAG_CAPTION_URL", "http://ada:secret@example.org/v1")
    with caplog.at_level(logging.INFO, logger="docrag.cli"):
        settings = read_settings(index="http://localhost:6333/reports", datatype=None)
    assert isinstance(settings, Settings)
    assert "index='http://localhost:6333/reports'" in caplog.text
    assert "caption_url='http://***@example.org/v1'" in caplog.text
    assert "datatype" not in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://host/a@b", "https://host/a@b"),
        ("http://u:p@host", "http://***@host"),
        ("http://u:p@ss@host/x", "http://***@host/x"),
        ("a@b.org", "a@b.org"),
    ],
)
def test_mask_passwords(text, masked):
    assert mask_passwords(text) == masked


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_questions_are_not_logged(docrag, demo_uri, flags):
    outcome = docrag("search", QUESTION, "--index", demo_uri, "-k", 1, "--json", *flags)
    assert outcome.code == 0
    assert json.loads(outcome.out)["query"] == QUESTION
    for word in ("gearbox", "bearing"):
        assert word not in outcome.err


def test_a_record_that_cannot_be_formatted_ends_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    ConsoleHandler().handle(logging.LogRecord("docrag", logging.WARNING, "", 1, "%d", ("no number",), None))
    assert "no number" in sys.stderr.getvalue()
