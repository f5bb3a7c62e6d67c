"""docrag migrate: rebuild an index with other models or another layout, then switch to it in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from docrag.cli.console import SOME_FAILED, errors, print_json, read_settings, results
from docrag.cli.monitor import Monitor
from docrag.cli.options import BuildOptions, IndexOption, JsonOption, PasswordOption, refuse
from docrag.errors import SettingsError

if TYPE_CHECKING:
    from docrag.operations.migrate import Migration


def migrate(
    build: BuildOptions,
    index: IndexOption = None,
    password: PasswordOption = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Drop pages whose files can no longer be read.")
    ] = False,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="Keep the old index next to the new one.")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Delete what an unfinished migration has built so far.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Rebuild an index with other models or another layout; searches use the old one until it is done."""
    from docrag.operations.migrate import migrate_index

    if abandon:
        others = {"--password": password, "--drop-missing": drop_missing, "--keep-old": keep_old}
        refuse(build.flags() | others, "with --abandon, which builds nothing", "migrate without --abandon")
        _abandon(index, as_json=as_json)
        return
    monitor = Monitor(as_json=as_json)
    with monitor.bar:
        migration = migrate_index(
            settings=build.settings(index=index),
            drop_missing=drop_missing,
            keep_old=keep_old,
            passwords=password or [],
            listener=monitor,
        )
    if not migration.switched:
        _say_that_captions_are_unchanged(build)
    _print(migration, as_json=as_json)
    if migration.dropped or migration.report.failures:
        raise typer.Exit(SOME_FAILED)


def _abandon(index: str | None, *, as_json: bool) -> None:
    from docrag.operations.migrate import abandon_migration

    settings = read_settings(index=index)
    abandon_migration(settings=settings)
    if as_json:
        print_json({"summary": {"index": settings.index, "switched": False}})
    else:
        results.print(f"{settings.index} stays as it is", soft_wrap=True)


def _say_that_captions_are_unchanged(build: BuildOptions) -> None:
    """Other captions alone are no reason to rebuild an index; where some were asked for, say so.

    Raises:
        SettingsError: Nothing but other captions was asked for.
    """
    if build.caption is None:
        return
    hint = f"make other captions with: docrag ingest PATH... --again --caption {build.caption}"
    vector_options = (
        build.late,
        build.image,
        build.text,
        build.resolution,
        build.max_patches,
        build.keep_patches,
        build.datatype,
        build.pooling,
    )
    if not any(vector_options):
        raise SettingsError("--caption has no effect on an index that needs no migration", hint)
    errors.print(f"note: the captions are unchanged; {hint}")


def _print(migration: Migration, *, as_json: bool) -> None:
    if as_json:
        summary = {"index": migration.uri, "switched": migration.switched, "pages": migration.pages}
        print_json({"summary": {**summary, "dropped": list(migration.dropped), "kept": migration.kept}})
        return
    if not migration.switched:
        results.print(f"{migration.uri} is built like this already", soft_wrap=True)
        return
    results.print(f"{migration.uri} has been rebuilt: {migration.pages} pages", soft_wrap=True)
    if migration.kept:
        results.print(f"the old index is at {migration.kept}", soft_wrap=True)
    for line in migration.dropped:
        errors.print(f"dropped   {line}")
    for file in migration.report.failures:
        already_printed = any(line.startswith(f"{file.file} (") for line in migration.dropped)
        if not already_printed:
            errors.print(f"{file.status:<9} {file.file}: {file.error}")
