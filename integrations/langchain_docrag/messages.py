"""Retrieved pages as messages that show them to a vision model."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.messages.content import ContentBlock, create_image_block, create_text_block
from PIL import Image

from docrag.errors import DocumentError
from docrag.search.crops import crop_regions, stack
from docrag.types import Region
from langchain_docrag.documents import IMAGE, MIME_TYPE

Detail = Literal["page", "regions", "thumbnail"]
Missing = Literal["error", "text"]

INSTRUCTION = "Answer from the pages below. Name the file and the page that you take the answer from."
NOTHING = "No page was found that could answer."
THUMBNAIL = 512
"""Pixels on the long side: enough to tell what a page is, not to read small print."""
QUALITY = 85


def to_messages(
    docs: Sequence[Document],
    question: str,
    *,
    detail: Detail = "page",
    instruction: str = INSTRUCTION,
    missing: Missing = "error",
) -> list[HumanMessage]:
    """One message that shows pages to a vision model and asks it a question.

    Args:
        docs: As the retriever gave them, or as they came back from JSON: only the metadata is read.
        question: Comes last.
        detail: page, the whole page as it was rendered; regions, the parts of it that matched, in one image;
            thumbnail, 512 pixels on the long side. Pages without regions, as neighbours are, are shown whole.
        instruction: Comes first; may be empty.
        missing: Whether a page whose image is gone is an error, or its text is given in place of the image.

    Returns:
        Content blocks that LangChain translates for each provider: for each page a line with its file and
        page, from 1, so that the model can name them, and then the image.

    Raises:
        DocumentError: The image of a page is gone or damaged, and that is an error.
    """
    blocks = [create_text_block(instruction)] if instruction else []
    shown = page_blocks(docs, detail=detail, missing=missing) or [create_text_block(NOTHING)]
    return [HumanMessage(content_blocks=[*blocks, *shown, create_text_block(question)])]


def show_pages(
    messages: Sequence[AnyMessage], *, detail: Detail = "page", missing: Missing = "error"
) -> list[AnyMessage]:
    """A conversation in which the pages that tools found are shown by a human message behind the tools' own.

    For providers that take only text from tools, such as OpenAI's chat completions: give the model these
    messages, and keep the conversation as it was.

    Args:
        messages: Those of `docrag_tool` hold the documents as their artifact.
        detail: As for `to_messages`.
        missing: As for `to_messages`.

    Raises:
        DocumentError: The image of a page is gone or damaged, and that is an error.
    """
    shown: list[AnyMessage] = []
    waiting: list[Document] = []
    for message in messages:
        if waiting and not isinstance(message, ToolMessage):  # all answers of tools must stand together
            shown.append(_shown(waiting, detail, missing))
            waiting = []
        shown.append(message)
        if isinstance(message, ToolMessage):
            waiting += _pages_in(message.artifact)
    return [*shown, _shown(waiting, detail, missing)] if waiting else shown


def page_blocks(
    docs: Sequence[Document], *, detail: Detail = "page", missing: Missing = "error", text: int = 0
) -> list[ContentBlock]:
    """For each page a line of text and an image.

    Args:
        docs: As the retriever gave them.
        detail: As for `to_messages`.
        missing: As for `to_messages`.
        text: How many characters of each page's text stand below its line.

    Raises:
        DocumentError: The image of a page is gone or damaged, and that is an error.
        ValueError: There is no such detail.
    """
    if detail not in _SHOWN:
        raise ValueError(f"detail={detail!r}: one of {', '.join(_SHOWN)}")
    blocks: list[ContentBlock] = []
    for doc in docs:
        line = page_line(doc)
        excerpt = f"{line}\n{shortened(doc.page_content, text)}" if text else line
        try:
            jpeg = _SHOWN[detail](doc.metadata)
        except DocumentError:
            if missing == "error":
                raise
            blocks.append(create_text_block(f"{line} (no image)\n{doc.page_content}"))
            continue
        encoded = base64.b64encode(jpeg).decode()
        blocks += [create_text_block(excerpt), create_image_block(base64=encoded, mime_type=MIME_TYPE)]
    return blocks


def page_line(doc: Document) -> str:
    """File and page as people count, with what is printed on the page where that is something else.

    >>> page_line(Document("", metadata={"source": "a/report.pdf", "page": 4, "page_label": "iii"}))
    'report.pdf, page 5 (printed iii)'
    """
    metadata = doc.metadata
    number = str(metadata["page"] + 1)
    label = metadata.get("page_label", number)
    return f"{Path(metadata['source']).name}, page {number}" + (
        f" (printed {label})" if label != number else ""
    )


def shortened(text: str, most: int) -> str:
    """The beginning of a text, cut between words."""
    return text if len(text) <= most else f"{text[:most].rsplit(maxsplit=1)[0]} ..."


def _shown(docs: Sequence[Document], detail: Detail, missing: Missing) -> HumanMessage:
    return HumanMessage(content_blocks=page_blocks(docs, detail=detail, missing=missing))


def _pages_in(artifact: object) -> list[Document]:
    """The documents of docrag in what a tool kept; other tools keep other things."""
    kept = artifact if isinstance(artifact, list) else []
    return [doc for doc in kept if isinstance(doc, Document) and "image_path" in doc.metadata]


def _page(metadata: Mapping[str, Any]) -> bytes:
    """The image as it was stored, not compressed again.

    Raises:
        DocumentError: It is gone.
    """
    if metadata.get(IMAGE):
        return base64.b64decode(metadata[IMAGE])
    path = metadata.get("image_path") or ""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        told = f"no image of {metadata['source']}, page {metadata['page'] + 1}"
        hint = "ingest the file again, or say missing='text' to give the page's text in its place"
        raise DocumentError(f"{told}, at {path or 'any path'}", hint) from error


def _regions(metadata: Mapping[str, Any]) -> bytes:
    told = metadata.get("regions", [])
    regions = [Region(tuple(one["box"]), one["score"], one["text"]) for one in told]
    return _jpeg(stack(crop_regions(_open(metadata), regions))) if regions else _page(metadata)


def _thumbnail(metadata: Mapping[str, Any]) -> bytes:
    image = _open(metadata)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return _jpeg(image)


_SHOWN: Mapping[Detail, Callable[[Mapping[str, Any]], bytes]] = {
    "page": _page,
    "regions": _regions,
    "thumbnail": _thumbnail,
}


def _open(metadata: Mapping[str, Any]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(_page(metadata)))
        image.load()
    except OSError as error:
        told = f"the image of {metadata['source']}, page {metadata['page'] + 1}, is damaged"
        raise DocumentError(told, "ingest the file again with again=True") from error
    return image


def _jpeg(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()
