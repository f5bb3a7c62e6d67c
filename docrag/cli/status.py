"""docrag status: what an index holds."""

from __future__ import annotations

from dataclasses import asdict

from docrag.cli.console import IndexOption, JsonOption, print_json, results


def status(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Say what the index holds and which models built it."""
    from docrag.index.index import Index
    from docrag.settings import load_settings

    with Index.open(settings=load_settings(index=index), create=False) as opened:
        held = opened.status()
    if as_json:
        print_json(asdict(held))
        return
    results.print(f"index      {held.uri}", soft_wrap=True)
    results.print(f"documents  {held.documents} in {held.files} files, {held.pages} pages")
    results.print(f"on disk    {held.disk_bytes / 2**20:.0f} MiB")
    for signal in ("late", "image", "text"):
        if spec := held.fingerprint[signal]:
            results.print(f"{signal:<10} {spec['family']} ({spec['model']}, {spec['dim']} dimensions)")
    told = held.fingerprint
    results.print(
        f"stored     {told['keep_patches']} patches as {told['datatype']}, pooled by {told['pooling']}"
    )
    if held.tuning:
        results.print(f"tuned      {held.tuning}", soft_wrap=True)
    if held.migration:
        results.print(f"migration  {held.migration}", soft_wrap=True)
    for line in held.incomplete:
        results.print(f"incomplete {line}", soft_wrap=True)
