"""docs/settings.md has every setting as the code has it."""

from __future__ import annotations

from typer.main import get_command

from docrag.cli import app
from docrag.settings import Settings
from tests.docs.pages import DOCS, rows

TABLE = {
    row[0].strip("`"): [cell.strip("`") for cell in row[1:]]
    for row in rows((DOCS / "settings.md").read_text(), "## All settings")
}

OTHERS = {("search", "image"), ("serve", "api_key")}
"""Parameters that are not the setting of that name: a query image, and the key of docrag serve."""


def test_every_setting_is_there_in_order():
    assert list(TABLE) == list(Settings.model_fields)


def test_variables_are_named():
    assert {name: row[0] for name, row in TABLE.items()} == {
        name: f"DOCRAG_{name.upper()}" for name in Settings.model_fields
    }


def test_defaults_are_those_of_the_code():
    written = {None: "none", True: "true", False: "false"}
    defaults = {
        name: written[field.default] if field.default in (None, True, False) else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    defaults["workers"] = "0"  # equal to False
    assert {name: row[1] for name, row in TABLE.items()} == defaults


def test_flags_are_those_of_the_commands():
    """A parameter of a command with the name of a setting sets it, but for OTHERS."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    flags = {
        parameter.name: parameter.opts[0]
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name in Settings.model_fields and (name, parameter.name) not in OTHERS
    }
    assert {name: row[2] for name, row in TABLE.items() if row[2]} == flags


def test_every_setting_has_a_meaning():
    assert all(row[3] for row in TABLE.values())
