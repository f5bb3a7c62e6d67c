"""One search of an index that nothing else is done with, as `docrag search` does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.types import Hit

if TYPE_CHECKING:
    from docrag.settings import Settings


def search_index(
    settings: Settings, wanted: Mapping[str, Any], image: Path | None, audio: Path | None
) -> tuple[list[Hit], float]:
    """Search an index once.

    The engine's process of a directory answers the whole search, so that this one need not load models,
    arrays and the parts of an index. Where there is no such process, the index is opened here.

    Args:
        settings: Name the index, and how its models are run.
        wanted: The query, k, mode and filter, as `Index.search` takes them.
        image: File of an image that pages should look like.
        audio: File of a recording that pages should match.

    Returns:
        The hits, best first, and the milliseconds that the search took once the index was open.

    Raises:
        IndexNotFound: There is no index.
        QueryError: The index cannot answer such a query.
    """
    shared = _has_engine(settings) and _can_be_read_elsewhere(image) and _can_be_read_elsewhere(audio)
    answer = _ask_engine(settings, wanted, image, audio) if shared else None
    return answer or _search_here(settings, wanted, image, audio)


def _has_engine(settings: Settings) -> bool:
    """Whether a process of its own holds the index, and no setting can contradict what is in it.

    Whether one does is found out, and told, where the index is opened.
    """
    from docrag.common.files import is_writable
    from docrag.location.names import FINGERPRINT
    from docrag.settings import INDEX_OPTIONS
    from docrag.store.server.address import is_address

    if settings.in_process or not settings.shared_encoder or is_address(settings.index):
        return False
    if any(getattr(settings, name) is not None for name in INDEX_OPTIONS):
        return False
    folder = Path(settings.index).expanduser()
    return (folder / FINGERPRINT).is_file() and is_writable(folder)


def _can_be_read_elsewhere(file: Path | None) -> bool:
    """Whether another process can read a file: not so a pipe, such as /dev/stdin or that of `<(command)`."""
    return file is None or file.is_file()


def _ask_engine(
    settings: Settings, wanted: Mapping[str, Any], image: Path | None, audio: Path | None
) -> tuple[list[Hit], float] | None:
    """The hits, or None if the process leaves this search to those who ask."""
    from docrag.common.rpc.client import Client
    from docrag.common.rpc.codec import Codec, Json
    from docrag.store.local.process import EngineProcess
    from docrag.types import Block, Region

    codec = Codec((Block, Hit, Region), raw_json={"Hit": ("metadata",)})
    process = EngineProcess(
        Path(settings.index).expanduser().absolute(), settings.engine_idle, codec, for_search=True
    )
    client = Client(process.connect, process.broken)
    files = [None if path is None else path.resolve() for path in (image, audio)]
    try:
        answer: tuple[list[Hit], float] | None = client.call(
            "search", Json(settings.run_options()), dict(wanted), *files
        )
    finally:
        client.close()
    return answer


def _search_here(
    settings: Settings, wanted: Mapping[str, Any], image: Path | None, audio: Path | None
) -> tuple[list[Hit], float]:
    from docrag.index.index import Index

    with Index.open(settings=settings, create=False) as opened:
        started = time.perf_counter()
        hits = opened.search(**wanted, image=image, audio=audio)
        return hits, (time.perf_counter() - started) * 1000
