"""docrag status: what an index holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption

if TYPE_CHECKING:
    from docrag.index.status import Status


def status(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Print what the index holds and which models it was built with."""
    from docrag.index.index import Index

    with Index.open(settings=read_settings(index=index), create=False) as opened:
        status = opened.status()
    if as_json:
        print_json(asdict(status))
        return
    results.print(f"index      {status.uri}", soft_wrap=True)
    _print_contents(status)
    results.print(f"on disk    {status.disk_bytes / 2**20:.0f} MiB")
    if status.dashboard:
        results.print(f"dashboard  {status.dashboard}{_listed_as(status)}", soft_wrap=True)
    built = status.fingerprint
    for signal in ("late", "image", "text"):
        if model := built[signal]:
            results.print(f"{signal:<10} {model['family']} ({model['model']}, {model['dim']} dimensions)")
    results.print(
        f"stored     {built['keep_patches']} patches as {built['datatype']}, pooled by {built['pooling']}"
    )
    if status.engine:
        users = ", ".join(f"{user.program} ({user.pid})" for user in status.engine.users)
        results.print(
            f"engine     process {status.engine.pid}, used by {users or 'nobody else'}", soft_wrap=True
        )
    for note in status.health.notes() if status.health else ():
        results.print(f"health     {note}", soft_wrap=True)
    _print_state(status)


def _print_state(status: Status) -> None:
    """What was decided about the index, what is going on with it, and what it lacks."""
    if status.tuning:
        results.print(f"tuned      {status.tuning}", soft_wrap=True)
    if status.migration:
        results.print(f"migration  {status.migration}", soft_wrap=True)
    if status.writer:
        results.print(f"changed by {status.writer}", soft_wrap=True)
    for line in status.incomplete:
        results.print(f"incomplete {line}", soft_wrap=True)


def _listed_as(status: Status) -> str:
    """How the dashboard's list of collections names the index, if that is not its own name."""
    alias = status.uri.rpartition("/")[2]
    if status.collection in ("", alias):
        return ""
    return f" (listed there as {status.collection}, alias {alias})"


def _print_contents(status: Status) -> None:
    """What is stored; for a collection, which several machines may fill, also which of them holds what."""
    if not status.holder:
        results.print(f"documents  {status.documents} in {status.files} files, {status.pages} pages")
        return
    results.print(f"documents  {status.stored_documents}, {status.pages} pages in the collection")
    own_pages = status.held_by.get(status.holder, 0)
    results.print(
        f"here       {status.documents} in {status.files} files, {own_pages} pages held as {status.holder}",
        soft_wrap=True,
    )
    for holder, pages in sorted(status.held_by.items()):
        if holder != status.holder:
            results.print(f"held by    {holder}: {pages} pages", soft_wrap=True)
