"""docrag migrate: build an index anew with other models, and switch to it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import SOME_FAILED, IndexOption, JsonOption, errors, print_json, results
from docrag.cli.ingest import Monitor
from docrag.cli.options import (
    BatchSizeOption,
    CaptionModelOption,
    CaptionOption,
    CaptionUrlOption,
    DatatypeOption,
    DeviceOption,
    DtypeOption,
    KeepPatchesOption,
    LateOption,
    MaxPatchesOption,
    PageTimeoutOption,
    PasswordOption,
    PoolingOption,
    ResolutionOption,
    TextOption,
)

if TYPE_CHECKING:
    from docrag.operations.migrate import Migration


def migrate(
    context: typer.Context,
    index: IndexOption = None,
    late: LateOption = None,
    image: Annotated[
        str | None, typer.Option("--image", help="Single-vector image encoder; none leaves it out.")
    ] = None,
    text: TextOption = None,
    caption: CaptionOption = None,
    caption_url: CaptionUrlOption = None,
    caption_model: CaptionModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: BatchSizeOption = None,
    resolution: ResolutionOption = None,
    max_patches: MaxPatchesOption = None,
    keep_patches: KeepPatchesOption = None,
    datatype: DatatypeOption = None,
    pooling: PoolingOption = None,
    password: PasswordOption = None,
    page_timeout: PageTimeoutOption = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Let pages go that cannot be read again.")
    ] = False,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Keep the old index beside the new one.")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Throw away what a migration has built so far.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read all files again with other models or another layout; the old index answers until it is done."""
    from docrag.operations.migrate import abandon_migration, migrate_index
    from docrag.settings import Settings, load_settings

    given = {name: value for name, value in context.params.items() if name in Settings.model_fields}
    settings = load_settings(**given)
    if abandon:
        abandon_migration(settings=settings)
        if as_json:
            print_json({"summary": {"index": settings.index, "switched": False}})
        else:
            results.print(f"{settings.index} stays as it is", soft_wrap=True)
        return
    monitor = Monitor(as_json=as_json)
    with monitor.bar:
        done = migrate_index(
            settings=settings,
            drop_missing=drop_missing,
            keep_old=keep_old,
            passwords=password or [],
            listener=monitor,
        )
    _show(done, as_json=as_json)
    if done.dropped or done.report.failures:
        raise typer.Exit(SOME_FAILED)


def _show(done: Migration, *, as_json: bool) -> None:
    if as_json:
        told = {"index": done.uri, "switched": done.switched, "pages": done.pages}
        print_json({"summary": {**told, "dropped": list(done.dropped), "kept": done.kept}})
        return
    if not done.switched:
        results.print(f"{done.uri} is built like this already", soft_wrap=True)
        return
    results.print(f"{done.uri} is built anew: {done.pages} pages", soft_wrap=True)
    if done.kept:
        results.print(f"the old index is {done.kept}", soft_wrap=True)
    for line in done.dropped:
        errors.print(f"dropped   {line}")
    for file in done.report.failures:
        if not any(line.startswith(f"{file.file} (") for line in done.dropped):  # told already
            errors.print(f"{file.status:<9} {file.file}: {file.error}")
