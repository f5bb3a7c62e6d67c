"""Every block of the README and of docs/ works as it is written, in the order in which it stands."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from docrag.settings import load_settings
from tests.docs.conftest import OpenSession
from tests.docs.pages import LANGUAGES, PAGES, ROOT, Block, blocks_in, blocks_of, name_of
from tests.docs.session import matches

RUNNABLE = [page for page in PAGES if any(block.language in ("sh", "python") for block in blocks_of(page))]

NOT_RUN = {
    "docrag COMMAND": "the form of every command",
    "docrag tune": "the five examples have too few pages to tune; tests/tuning/ has more",
    "docrag remove old/report.pdf": "the machine is made up, as in tests/cli/test_commands.py",
    "DOCRAG_TEST_QDRANT_URL": "needs a real Qdrant server",
    "DOCRAG_INDEX=my-index uvicorn": "runs until it is stopped, as tests/serve/test_from_settings.py does",
}
"""How blocks of text with commands begin, and why these are not run; their options are checked anyway."""


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_blocks_run_in_order(page: Path, open_session: OpenSession):
    with open_session(page) as session:
        printed = ""
        for block in blocks_of(page):
            if block.language in ("sh", "python"):
                printed = session.run(block)
            elif block.language == "output":
                assert matches(block.text, printed), f"{block} shows something else than:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path):
    languages = [block.language for block in blocks_of(page)]
    assert set(languages) <= set(LANGUAGES)
    for before, language in pairwise(["", *languages]):
        assert language != "output" or before in ("sh", "python")


def test_commands_that_are_not_run_have_a_reason():
    commands = [
        block.text
        for block in blocks_in("text")
        if re.match(r"(docrag|python|pip|curl|[A-Z_]+=)", block.text)
    ]
    assert all(text.startswith(tuple(NOT_RUN)) for text in commands)
    assert all(any(text.startswith(begin) for text in commands) for begin in NOT_RUN)


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_json_can_be_parsed(block: Block):
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_toml_is_valid_and_its_settings_exist(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = tomllib.loads(block.text)
    if "project" in values:
        [group] = values["project"]["entry-points"]
        assert group == "docrag.encoders"
        return
    (tmp_path / "docrag.toml").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    settings = load_settings().model_dump()
    assert {name: settings[name] for name in values} == values


def test_ci_runs_the_two_commands_that_install():
    install, test = [block.text for block in blocks_of(PAGES[0]) if block.language == "sh"][:2]
    script = (ROOT / ".ci" / "run").read_text()
    assert "pip install --no-compile -c constraints.txt ." in install
    assert "docrag demo" in install
    assert test.strip() == "make test"
    assert "readme_block 1" in script
    assert "readme_block 2" in script
