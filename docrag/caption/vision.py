"""Captions written by a vision model behind an OpenAI-compatible API: vLLM, Ollama or a hosted model.

Page images are sent to that API. The model's description is appended to the caption from the page's own text,
never put in its place, and is cached, so that no page is paid for twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docrag.caption.base import Caption
from docrag.caption.cache import CaptionCache
from docrag.caption.text_layer import text_layer_caption
from docrag.common.http import JsonClient, data_url
from docrag.common.images import fit, jpeg_within
from docrag.errors import PageFailed, RemoteError, SettingsError
from docrag.types import Page, PageImage

logger = logging.getLogger(__name__)

PROMPT = (
    "Describe this page so that a search can find it. Say its title and subject. For each chart, table or "
    "diagram, say what it shows, with units, periods and the key figures as printed. Name the objects and "
    "places on photos and drawings. Do not copy the running text, and do not guess what cannot be read. "
    "Plain sentences in the language of the page, at most 150 words."
)
MAX_TOKENS = 400
IMAGE_SIDE = 1024
"""Long side in pixels of the image that is sent."""
PAGE_REFUSED = frozenset({400, 413, 422})
"""HTTP statuses that refuse one page; other errors would stop every page."""
JPEG_QUALITY = 90
ENDPOINT = "chat/completions"


class VisionCaptioner:
    """Captions from the page's text layer and its image (`--caption vision`).

    Args:
        base_url: Such as http://127.0.0.1:8000/v1; requests go to chat/completions below it.
        model: The model's name in the API.
        cache: SQLite file with the model's answers.
        key: Sent as a bearer token; empty if the API needs none.
        prompt: Sent with every page.
        image_side: Long side in pixels of the image that is sent.
        max_tokens: Limit on the tokens of one answer, the model's reasoning included.
        concurrency: Number of simultaneous requests.
        timeout: Seconds that an answer may take.
        extra: Fields that are added to the request or replace its own; None removes a field, such as
            {"max_tokens": None, "max_completion_tokens": 400} for models that expect the other name.
        sleep: Waits between two attempts; the default waits until `close` is called.

    Raises:
        SettingsError: The address, the key or the model's name is not valid.
        StoreError: The cache cannot be opened.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        cache: Path,
        key: str = "",
        prompt: str = PROMPT,
        image_side: int = IMAGE_SIDE,
        max_tokens: int = MAX_TOKENS,
        concurrency: int = 4,
        timeout: float = 120,
        extra: Mapping[str, Any] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        if not model.strip():
            raise SettingsError(
                "captions by a vision model need the model's name", "give the name that the API uses"
            )
        fields = {"model": model, "max_tokens": max_tokens, "temperature": 0, **(extra or {})}
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._prompt = prompt
        self._side = image_side
        self._concurrency = concurrency
        self._client = JsonClient(base_url, key, timeout, sleep)
        self._address = self._client.address(ENDPOINT)
        self._cache = CaptionCache(cache, _digest([self._fields, prompt, image_side]))

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """Return one caption per page, in order.

        A caption is that of the text layer, followed by the model's description on a line of its own. A page
        that the model refuses or does not describe has the former only, and the reason in `Caption.error`.

        Raises:
            RemoteError: The API does not answer, or refuses every page; answers received so far are cached.
            StoreError: The cache cannot be used.
        """
        answers: dict[str, str | PageFailed] = {}
        missing: dict[str, Page] = {}
        for page in pages:
            cached = self._cache.get(page.id)
            if cached is None:
                missing[page.id] = page
            else:
                answers[page.id] = cached
        logger.info("vision captions: %d in the cache, %d to request", len(answers), len(missing))
        answers |= self._request_all(missing)
        return [_with_answer(page, answers[page.id]) for page in pages]

    def close(self) -> None:
        """Close the connections and the cache."""
        self._client.close()
        self._cache.close()

    def _request_all(self, missing: Mapping[str, Page]) -> dict[str, str | PageFailed]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = {page_id: pool.submit(self._describe, page) for page_id, page in missing.items()}
            try:
                return {page_id: future.result() for page_id, future in futures.items()}
            except BaseException:  # requests under way are awaited and cached, since they are paid for anyway
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _describe(self, page: Page) -> str | PageFailed:
        """The model's description of one page, which is cached as soon as it arrives."""
        result = self._request(page)
        if isinstance(result, PageFailed):
            logger.info("no vision caption for page %d of %s: %s", page.number, page.document.name, result)
        else:
            self._cache.put(page.id, result)
        return result

    def _request(self, page: Page) -> str | PageFailed:
        if page.image is None:
            return PageFailed("no image for the vision model", "ingest the file again")
        try:
            answer = self._client.post(ENDPOINT, self._body(page.image))
        except RemoteError as error:
            if error.status not in PAGE_REFUSED:
                raise
            return PageFailed(error.message, error.hint)
        text, finish_reason = self._parse(answer)
        if text:
            return text
        hint = "allow more tokens" if finish_reason == "length" else "try another prompt or model"
        return PageFailed(
            f"the vision model answered with no text ({finish_reason or 'no reason given'})", hint
        )

    def _body(self, image: PageImage) -> dict[str, Any]:
        url = data_url(_scaled_jpeg(image, self._side))
        content = [
            {"type": "text", "text": self._prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return {"messages": [{"role": "user", "content": content}], **self._fields}

    def _parse(self, answer: Mapping[str, Any]) -> tuple[str, str]:
        """The model's text on one line without its reasoning, and the reason why it ended."""
        try:
            choice = answer["choices"][0]
            content = choice["message"]["content"] or ""
            finish_reason = choice.get("finish_reason") or ""
            text = content.rpartition("</think>")[2]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise RemoteError(
                f"{self._address} does not answer like an OpenAI-compatible API",
                "check the address, which often ends in /v1",
            ) from None
        if text.lstrip().startswith("<think>"):  # the answer ended before the reasoning did
            text = ""
        return " ".join(text.split()), str(finish_reason)


def _scaled_jpeg(image: PageImage, side: int) -> bytes:
    """The image as JPEG with a long side of at most `side` pixels; unchanged if it is not longer."""
    from PIL import Image as pillow

    if max(image.width, image.height) <= side:
        return image.jpeg
    with pillow.open(io.BytesIO(image.jpeg)) as opened:
        return jpeg_within(fit(opened.convert("RGB"), side), JPEG_QUALITY)[0]


def _with_answer(page: Page, answer: str | PageFailed) -> Caption:
    """The caption of the text layer with the model's answer behind it."""
    own = text_layer_caption(page)
    return Caption(own, answer) if isinstance(answer, PageFailed) else Caption(f"{own}\n{answer}")


def _digest(recipe: object) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
