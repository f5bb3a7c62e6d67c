"""docrag status: what an index holds."""

from __future__ import annotations

from dataclasses import asdict

from docrag.cli.console import print_json, read_settings, results
from docrag.cli.options import IndexOption, JsonOption


def status(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Print what the index holds and which models it was built with."""
    from docrag.index.index import Index

    with Index.open(settings=read_settings(index=index), create=False) as opened:
        status = opened.status()
    if as_json:
        print_json(asdict(status))
        return
    results.print(f"index      {status.uri}", soft_wrap=True)
    results.print(f"documents  {status.documents} in {status.files} files, {status.pages} pages")
    results.print(f"on disk    {status.disk_bytes / 2**20:.0f} MiB")
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
    if status.tuning:
        results.print(f"tuned      {status.tuning}", soft_wrap=True)
    if status.migration:
        results.print(f"migration  {status.migration}", soft_wrap=True)
    if status.writer:
        results.print(f"changed by {status.writer}", soft_wrap=True)
    for line in status.incomplete:
        results.print(f"incomplete {line}", soft_wrap=True)
