"""The options that commands share, and the options that a command cannot honour."""

from __future__ import annotations

import dataclasses

import pytest
from typer.main import get_command

from docrag import Settings
from docrag.cli import app
from docrag.cli.options import BuildOptions, DeviceOptions, VectorOptions
from tests.cli.conftest import Outcome
from tests.samples import FERRY, write_pdf

COMMANDS = get_command(app).commands


def flags_of(command: str) -> set[str]:
    return {flag for parameter in COMMANDS[command].params for flag in parameter.opts}


def flags_of_group(group: type) -> set[str]:
    return {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(group)}


@pytest.mark.parametrize("group", [BuildOptions, DeviceOptions, VectorOptions])
def test_every_option_of_a_group_sets_a_setting(group):
    assert {field.name for field in dataclasses.fields(group)} <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("group", "commands"),
    [
        (BuildOptions, ["ingest", "migrate"]),
        (VectorOptions, ["estimate"]),
        (DeviceOptions, ["search", "tune", "eval", "label", "serve", "mcp"]),
    ],
)
def test_commands_have_the_options_of_their_groups(docrag, group, commands):
    for command in commands:
        assert flags_of_group(group) <= flags_of(command)
        shown = docrag(command, "--help").out
        assert all(flag in shown for flag in flags_of_group(group))


def test_help_shows_defaults_in_brackets_of_every_kind(docrag):
    """Rich takes a word in square brackets for markup and drops it."""
    for command in COMMANDS.values():
        for parameter in command.params:
            assert "[" not in (getattr(parameter, "help", "") or "")
    assert "default: minilm" in docrag("ingest", "--help").out


def test_options_are_completed():
    context = COMMANDS["ingest"].make_context("ingest", [], resilient_parsing=True)
    completed = {item.value for item in COMMANDS["ingest"].shell_complete(context, "--")}
    assert flags_of_group(BuildOptions) <= completed


def test_options_reach_the_settings(monkeypatch):
    monkeypatch.setenv("DOCRAG_POOLING", "tokens")
    settings = BuildOptions(datatype="turbo8", batch_size="8").settings(index="somewhere")
    assert (settings.index, settings.datatype, settings.batch_size) == ("somewhere", "turbo8", 8)
    assert settings.pooling == "tokens"


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome.err
    message = " ".join(outcome.err.split())
    for word in words:
        assert word in message
    assert "hint:" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("ingest", "x.pdf", "--caption-url", "http://127.0.0.1:1/v1"),
            ("--caption-url has", "--caption vision"),
        ),
        (
            (
                "migrate",
                "--caption",
                "text",
                "--caption-model",
                "seer",
                "--caption-url",
                "http://127.0.0.1:1",
            ),
            ("--caption-url and --caption-model have no effect", "leave them out"),
        ),
        (("migrate", "--abandon", "--late", "minilm"), ("--late has no effect with --abandon",)),
        (("migrate", "--abandon", "--password", "a", "--keep-old"), ("--password and --keep-old have",)),
        (("estimate", "--pages", "5", "--max-patches", "100"), ("--max-patches has no effect on minilm",)),
        (("estimate", "--pages", "5", "x.pdf"), ("both files and --pages",)),
        (
            ("label", "--labels", "a,b", "--password", "x", "--batch-size", "2"),
            ("--batch-size and --password",),
        ),
        (("mcp", "--host", "127.0.0.1"), ("--host has no effect without --http",)),
        (("mcp", "--port", "0"), ("--port has no effect without --http",)),
        (("mcp", "--config", "--http", "--device", "cpu"), ("--device has no effect",)),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(docrag, demo_uri, arguments, words):
    assert_refused(docrag(*arguments, *(() if arguments[0] == "estimate" else ("--index", demo_uri))), *words)


def test_resolution_and_patches_are_refused_where_words_are_embedded(docrag, tmp_path):
    path = write_pdf(tmp_path / "a.pdf", FERRY)
    for option in ("--resolution", "--max-patches"):
        outcome = docrag("ingest", path, "--index", tmp_path / "index", option, 512)
        assert_refused(outcome, "minilm", option)
        assert not (tmp_path / "index").exists()


def test_a_caption_url_in_the_environment_is_no_option(docrag, demo_copy, monkeypatch):
    monkeypatch.setenv("DOCRAG_CAPTION_URL", "http://127.0.0.1:1/v1")
    assert docrag("migrate", "--index", demo_copy()).code == 0


def test_a_file_without_queries_is_refused(docrag, demo_uri, tmp_path):
    (tmp_path / "queries.jsonl").write_text("\n")
    assert_refused(docrag("tune", "--index", demo_uri, "--queries", tmp_path / "queries.jsonl"), "no queries")


def test_other_captions_alone_are_no_migration(docrag, demo_copy):
    uri = demo_copy()
    assert_refused(
        docrag("migrate", "--index", uri, "--caption", "none"), "--caption has no effect", "--again"
    )
    same = docrag("migrate", "--index", uri, "--caption", "none", "--late", "minilm")
    assert (same.code, "captions are unchanged" in same.err) == (0, True)


def test_patches_that_are_all_inked_are_noted(docrag):
    outcome = docrag("estimate", "--pages", 5, "--keep-patches", "inked")
    assert (outcome.code, "leaves nothing out" in outcome.err) == (0, True)
    assert "note" not in docrag("estimate", "--pages", 5, "--keep-patches", "inked", "--late", "colqwen2").err
