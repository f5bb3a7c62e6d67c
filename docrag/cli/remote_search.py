"""Search through a running `docrag serve`, which holds the index open."""

from __future__ import annotations

import base64
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.cli.console import errors
from docrag.search.hit_json import hit_of
from docrag.types import Hit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docrag.serve.handover import Holder
    from docrag.settings import Settings


@contextmanager
def running_server(settings: Settings) -> Iterator[Holder | None]:
    """The `docrag serve` that holds the index; None where there is none."""
    from docrag.location.resolve import local_folder
    from docrag.serve.handover import find_holder

    with find_holder(local_folder(settings)) as server:
        yield server


def search_server(
    server: Holder, query: Mapping[str, Any], image: Path | None, *, with_best_image: bool
) -> tuple[list[Hit], float]:
    """The hits, and the milliseconds that the server took.

    Args:
        server: Holds the index.
        query: Has query, k, mode and filter.
        image: File of an image that pages should look like.
        with_best_image: Whether the page image of the best hit is fetched; it becomes its `image_path`.

    Raises:
        QueryError: The server cannot answer such a query, or the image cannot be read.
        DocragError: The server fails.
    """
    errors.print(f"docrag serve has the index open: asking {server.url}")
    request = {name: value for name, value in query.items() if value}
    # Arguments may hold bytes that are not UTF-8, as surrogates, which JSON cannot carry.
    request["query"] = query["query"].encode(errors="replace").decode()
    if image is not None:
        request["image"] = _read_as_base64(image)
    response = server.search(request)
    hits = []
    for number, hit in enumerate(response["hits"]):
        wanted = with_best_image and number == 0
        hits.append(hit_of(hit, _save(server.picture(hit["image_url"])) if wanted else None))
    return hits, response["took_ms"]


def _read_as_base64(path: Path) -> str:
    """An image file as a request carries it: PNG in base64.

    Raises:
        QueryError: There is no such file, or it is no image.
    """
    from docrag.search.query import open_image

    content = BytesIO()
    open_image(path).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def _save(jpeg: bytes) -> Path:
    """A page image as a temporary file."""
    path = Path(tempfile.mkdtemp(prefix="docrag-")) / "page.jpg"
    path.write_bytes(jpeg)
    return path
