"""The pages name what exists: links, errors, folders, files, commands, options, addresses, models, limits."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.main import get_command

import docrag
from docrag import Index, errors
from docrag.cli import app
from docrag.encode.registry import list_models
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import FASTAPI_TELEMETRY
from tests.docs.pages import DOCS, PAGES, ROOT, blocks_in, name_of, rows

LINKED = (
    *PAGES,
    ROOT / "CHANGELOG.md",
    ROOT / "docker" / "README.md",
    *sorted((ROOT / "integrations").glob("*/README.md")),
)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
OF_OTHERS = {
    *("--index-url", "--no-compile"),
    *("--factory", "--limit-concurrency", "--no-access-log", "--preload", "--workers"),
}
"""Options of pip, and of uvicorn and gunicorn."""
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors that forges make of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_links_lead_somewhere(path: Path):
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{name_of(path)}: {link}"
        assert ROOT in linked.parents, f"{name_of(path)}: {link} leads out of the repository"
        if anchor:
            assert anchor in anchors(linked), f"{name_of(path)}: {link} has no such heading"


def test_the_contents_list_every_page():
    linked = set(LINK.findall(page("README")))
    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= linked
    readme = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {name_of(path) for path in DOCS.glob("*.md")} - {"docs/README.md"} <= readme


def test_the_readme_fits_on_a_screen():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_every_error_is_explained():
    table = {row[0].strip("`"): row for row in rows(page("troubleshooting"), "## Errors")}
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.DocragError)
    }
    assert set(table) == set(classes)
    assert {name: int(row[1]) for name, row in table.items()} == {
        name: kind.exit_code for name, kind in classes.items()
    }
    for row in table.values():
        assert len(row) == 4
        assert all(row)


def test_the_map_names_every_folder():
    package = Path(docrag.__file__).parent
    folders = {
        f"{path.parent.relative_to(package)}/"
        for path in package.rglob("__init__.py")
        if path.parent != package
    }
    named = {row[0].strip("`") for row in rows(page("architecture"), "## The map")}
    inner = {"serve/routes/"}  # told with its parent
    assert named == folders - inner


def test_the_floors_name_what_is_there():
    floors = next(block.text for block in blocks_in("text") if block.text.startswith("faces"))
    for name in re.findall(r"\b(\w+(?:/|\.py))(?=\s)", floors):
        assert (ROOT / "docrag" / name).exists() or (ROOT / name).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_are_named_exist(path: Path):
    for name in CODE.findall(prose(path)):
        if re.fullmatch(r"(docrag|tests|integrations|docker|\.ci)/[\w./-]+", name):
            assert (ROOT / name).exists(), f"{name_of(path)}: {name}"


def test_walkthroughs_open_at_most_three_files():
    section = page("contributing").split("## Where to change what")[1].split("\n## ")[0]
    tasks = section.split("\n### ")[1:]
    assert len(tasks) >= 5
    for task in tasks:
        steps = re.findall(r"^\d+\. `([^`]+)`|^\d+\. The command's own file", task, re.MULTILINE)
        assert 2 <= len(steps) <= 3, task.splitlines()[0]


def test_every_command_and_option_is_described():
    introduction, *sections = page("command-line").split("\n## ")
    everywhere = {"--help", "-h", "--verbose", "-v"}
    assert all(option in introduction for option in everywhere - {"-h"})
    headings = [section.split("\n")[0] for section in sections]
    assert sorted(described(headings)) == sorted(COMMANDS)
    for heading, section in zip(headings, sections, strict=True):
        existing = {name: options_of(name) - everywhere for name in described([heading])}
        told = {
            option
            for code in CODE.findall(section)
            for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", code)
        }
        assert told == set().union(*existing.values()), heading


def described(headings: Iterable[str]) -> list[str]:
    """The commands that headings name."""
    return [name for heading in headings for name in re.findall(r"docrag ([a-z]+)", heading)]


def options_of(command: str) -> set[str]:
    """The options of a command, without its arguments."""
    parameters = COMMANDS[command].params
    return {option for parameter in parameters for option in parameter.opts if option.startswith("-")}


def test_no_page_names_an_option_that_does_not_exist():
    known = {
        option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts
    }
    known |= {"--version", "--help", "--install-completion"}
    known |= OF_OTHERS
    for path in PAGES:
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*[a-z](?![\w-])", path.read_text()):
            assert option in known, f"{name_of(path)}: {option}"


def test_every_address_of_the_api_is_described(demo_index: Index, tmp_path: Path):
    application = create_app(demo_index, ServeSettings(allow_ingest=True, folder=tmp_path))
    described = {
        tuple(row[0].strip("`").split("?")[0].split(" ")) for row in rows(page("serve"), "## Addresses")
    }
    paths = TestClient(application, base_url="http://127.0.0.1:8000").get("/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == served | {("GET", "/openapi.json")}


def test_limits_are_those_of_the_server():
    limits = " ".join(" ".join(row) for row in rows(page("serve"), "## Limits"))
    defaults = ServeSettings()
    mib = 1024 * 1024
    for expected in (
        f"{defaults.max_body_bytes // mib} MiB, {defaults.body_timeout:g} s",
        f"{defaults.max_upload_bytes // mib} MiB, {defaults.upload_timeout:g} s",
        f"files in an upload | {defaults.max_files}",
        f"pages of an uploaded document | {defaults.max_pages:,}",
        f"uploads that wait | {defaults.max_waiting_jobs}",
    ):
        assert expected.replace(" | ", " ") in limits, expected


def test_every_metric_is_described(demo_index: Index):
    application = create_app(demo_index)
    exposed = {
        sample
        for metric in application.state.metrics.registry.collect()
        for sample in [f"{metric.name}_total" if metric.type == "counter" else metric.name]
    }
    assert {row[0].strip("`") for row in rows(page("serve"), "## Metrics, logs and traces")} == exposed
    assert FASTAPI_TELEMETRY["tracing"] is False


def test_every_model_is_listed_with_its_licence():
    listed = {}
    for row in list_models():
        if "unavailable" not in row:
            name, option, model, licence = (str(row[key]) for key in ("name", "option", "model", "licence"))
            options = f"{listed[name][0]}, `{option}`" if name in listed else f"`{option}`"
            listed[name] = (options, model, licence)
    told = {row[0].strip("`"): tuple(row[1:]) for row in rows(page("models"), "## Names and licences")}
    assert told == {name: row for name, row in listed.items() if name != "imagebind"}


def test_methods_of_the_index_are_described():
    table = "\n".join(row[0] for row in rows(page("python"), "## Ingest and search"))
    public = {name for name in dir(Index) if not name.startswith("_")} - {"open", "close", "changes"}
    assert {name for name in public if not re.search(rf"`{name}\b", table)} == set()
