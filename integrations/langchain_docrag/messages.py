"""Retrieved pages as messages that show them to a vision model."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langchain_core.messages.content import ContentBlock, create_image_block, create_text_block
from PIL import Image

from docrag.errors import DocumentError, SettingsError
from docrag.search.crops import crop_regions, stack
from docrag.types import Region
from langchain_docrag.documents import IMAGE_KEY, MIME_TYPE

logger = logging.getLogger(__name__)

Detail = Literal["page", "regions", "thumbnail"]
Missing = Literal["error", "text"]

INSTRUCTION = "Answer from the pages below. Name the file and the page that you take the answer from."
NO_PAGES = "No page was found that could answer."
THUMBNAIL_SIDE = 512
"""Pixels on the long side: enough to see what a page is, not enough to read small print."""
JPEG_QUALITY = 85


def to_messages(
    docs: Sequence[Document],
    question: str,
    *,
    detail: Detail = "page",
    instruction: str = INSTRUCTION,
    missing: Missing = "error",
) -> list[HumanMessage]:
    """Make one message that shows pages to a vision model and asks it a question.

    Args:
        docs: Documents from the retriever; they may have been written as JSON in between, since only their
            text and metadata are read.
        question: The question, which comes last.
        detail: "page" shows the whole page as it was rendered; "regions" shows the parts of it that matched,
            in one image; "thumbnail" shows the page with 512 pixels on the long side. Pages without regions,
            such as neighbours, are shown whole.
        instruction: The text that comes first; it may be empty.
        missing: What happens to a page whose image no longer exists: "error" raises an exception, "text"
            gives the page's text in place of the image.

    Returns:
        Content blocks that LangChain translates for each provider. Each page is a line of text with its file
        and its page number, counted from 1, so that the model can name them, followed by the image.

    Raises:
        DocumentError: The image of a page is missing or damaged, and `missing` is "error".
    """
    blocks: list[ContentBlock] = [create_text_block(instruction)] if instruction else []
    blocks += page_blocks(docs, detail=detail, missing=missing) or [create_text_block(NO_PAGES)]
    return [HumanMessage(content_blocks=[*blocks, create_text_block(question)])]


def show_pages(
    messages: Sequence[AnyMessage], *, detail: Detail = "page", missing: Missing = "error"
) -> list[AnyMessage]:
    """Add human messages to a conversation that show the pages which tools found.

    This is for providers that accept only text from tools, such as OpenAI's chat completions: call the model
    with the returned messages, and keep the conversation itself as it was.

    Args:
        messages: The conversation. The artifact of a message of `docrag_tool` is the list of documents.
        detail: As for `to_messages`.
        missing: As for `to_messages`.

    Raises:
        DocumentError: The image of a page is missing or damaged, and `missing` is "error".
    """
    extended: list[AnyMessage] = []
    not_shown: list[Document] = []
    for message in messages:
        # Providers require the answers of parallel tool calls to follow each other directly.
        if not_shown and not isinstance(message, ToolMessage):
            extended.append(_pages_message(not_shown, detail, missing))
            not_shown = []
        extended.append(message)
        if isinstance(message, ToolMessage):
            not_shown += _documents_in(message.artifact)
    if not_shown:
        extended.append(_pages_message(not_shown, detail, missing))
    return extended


def page_blocks(
    docs: Sequence[Document], *, detail: Detail = "page", missing: Missing = "error", text: int = 0
) -> list[ContentBlock]:
    """Make a line of text and an image for each page.

    Args:
        docs: Documents from the retriever.
        detail: As for `to_messages`.
        missing: As for `to_messages`.
        text: The number of characters of the page's text to add below the line.

    Raises:
        DocumentError: The image of a page is missing or damaged, and `missing` is "error".
        SettingsError: `detail` or `missing` has an unknown value.
    """
    _require_choice("detail", detail, tuple(_IMAGE_MAKERS))
    _require_choice("missing", missing, get_args(Missing))
    blocks: list[ContentBlock] = []
    for doc in docs:
        line = page_line(doc)
        try:
            jpeg = _IMAGE_MAKERS[detail](doc.metadata)
        except DocumentError as error:
            if missing == "error":
                raise
            logger.info("showing the text of a page in place of its image: %s", error.message)
            blocks.append(create_text_block(f"{line} (no image)\n{doc.page_content}"))
            continue
        heading = f"{line}\n{truncate_words(doc.page_content, text)}" if text else line
        blocks.append(create_text_block(heading))
        blocks.append(create_image_block(base64=base64.b64encode(jpeg).decode(), mime_type=MIME_TYPE))
    return blocks


def page_line(doc: Document) -> str:
    """Name the file and the page number from 1, and the printed page number if it is a different one.

    >>> page_line(Document("", metadata={"source": "a/report.pdf", "page": 4, "page_label": "iii"}))
    'report.pdf, page 5 (printed iii)'
    """
    metadata = doc.metadata
    label = metadata.get("page_label")
    printed = f" (printed {label})" if label and label != str(metadata.get("page", 0) + 1) else ""
    return _page_name({**metadata, "source": Path(metadata.get("source", "")).name}) + printed


def truncate_words(text: str, max_length: int) -> str:
    """Return the beginning of a text, cut between words."""
    if len(text) <= max_length:
        return text
    return f"{text[:max_length].rsplit(maxsplit=1)[0]} ..."


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SettingsError(f"{name}={value!r}", f"one of {', '.join(choices)}")


def _page_name(metadata: Mapping[str, Any]) -> str:
    """File and page; a document from another retriever in the same chain may have neither."""
    name = metadata.get("source") or "a document without a name"
    return f"{name}, page {metadata['page'] + 1}" if isinstance(metadata.get("page"), int) else str(name)


def _pages_message(docs: Sequence[Document], detail: Detail, missing: Missing) -> HumanMessage:
    return HumanMessage(content_blocks=page_blocks(docs, detail=detail, missing=missing))


def _documents_in(artifact: object) -> list[Document]:
    """The documents of docrag in the artifact of a tool message; other tools have other artifacts."""
    if not isinstance(artifact, list):
        return []
    return [item for item in artifact if isinstance(item, Document) and "image_path" in item.metadata]


def _page_jpeg(metadata: Mapping[str, Any]) -> bytes:
    """The image as it was stored, not compressed again.

    Raises:
        DocumentError: The file no longer exists.
    """
    if metadata.get(IMAGE_KEY):
        return base64.b64decode(metadata[IMAGE_KEY])
    path = metadata.get("image_path") or ""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        hint = "ingest the file again with again=True, or pass missing='text' to show the page's text"
        raise DocumentError(f"no image of {_page_name(metadata)}, at {path or 'any path'}", hint) from error


def _regions_jpeg(metadata: Mapping[str, Any]) -> bytes:
    regions = [
        Region(tuple(region["box"]), region["score"], region["text"])
        for region in metadata.get("regions", [])
    ]
    if not regions:
        return _page_jpeg(metadata)
    return _as_jpeg(stack(crop_regions(_open_image(metadata), regions)))


def _thumbnail_jpeg(metadata: Mapping[str, Any]) -> bytes:
    image = _open_image(metadata)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return _as_jpeg(image)


_IMAGE_MAKERS: Mapping[Detail, Callable[[Mapping[str, Any]], bytes]] = {
    "page": _page_jpeg,
    "regions": _regions_jpeg,
    "thumbnail": _thumbnail_jpeg,
}
"""How the JPEG of each detail is made from the metadata of a document."""


def _open_image(metadata: Mapping[str, Any]) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(_page_jpeg(metadata)))
        image.load()
    except OSError as error:
        raise DocumentError(
            f"the image of {_page_name(metadata)} is damaged", "ingest the file again with again=True"
        ) from error
    return image


def _as_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
