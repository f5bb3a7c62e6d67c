"""A search of an index that `docrag serve` holds: the server is asked."""

from __future__ import annotations

import base64
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docrag.cli.console import errors
from docrag.search.hit_json import hit_of
from docrag.types import Hit

if TYPE_CHECKING:
    from docrag.settings import Settings


def search_there(
    settings: Settings, asked: dict[str, Any], image: Path | None = None, *, picture: bool = False
) -> tuple[list[Hit], float] | None:
    """Hits and the milliseconds they took; None where no server of docrag's holds the index.

    Args:
        settings: Name the index.
        asked: query, k, mode and filter.
        image: What pages should look like.
        picture: Whether the best hit needs its picture.

    Raises:
        QueryError: It cannot be asked so.
        DocragError: The server fails.
    """
    from docrag.location.resolve import local_folder
    from docrag.serve.handover import find_holder

    with find_holder(local_folder(settings)) as holder:
        if holder is None:
            return None
        errors.print(f"the index is open in docrag serve: asking {holder.url}")
        request = {name: value for name, value in asked.items() if value}
        request["query"] = (
            asked["query"].encode(errors="replace").decode()
        )  # a terminal may give half letters
        told = holder.search(request | ({"image": _in_base64(image)} if image else {}))
        best = told["hits"][:1] if picture else []
        pictures = [_keep(holder.picture(hit["image_url"])) for hit in best]
    hits = [hit_of(hit, *pictures[place : place + 1]) for place, hit in enumerate(told["hits"])]
    return hits, told["took_ms"]


def _in_base64(path: Path) -> str:
    """An image as a request takes it.

    Raises:
        QueryError: There is no such file, or it is no image.
    """
    from docrag.search.query import open_image

    content = BytesIO()
    open_image(path).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def _keep(jpeg: bytes) -> Path:
    """A picture as a file: `--open` marks it."""
    path = Path(tempfile.mkdtemp(prefix="docrag-")) / "page.jpg"
    path.write_bytes(jpeg)
    return path
