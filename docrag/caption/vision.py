"""Captions by a vision model behind any OpenAI-compatible address: vLLM, Ollama, a hosted model.

Page images go to that address. What it says of a page is put behind the caption from the page's own text,
never in its place, and is kept, so that no page is paid for twice.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from docrag.caption import Caption
from docrag.caption.cache import CaptionCache
from docrag.caption.text_layer import caption as text_layer_caption
from docrag.common.http import JsonClient, data_url
from docrag.common.images import fit, jpeg_within
from docrag.errors import PageFailed, RemoteError, SettingsError
from docrag.types import Page, PageImage

PROMPT = (
    "Describe this page so that a search can find it. Say its title and subject. For each chart, table or "
    "diagram, say what it shows, with units, periods and the key figures as printed. Name the objects and "
    "places on photos and drawings. Do not copy the running text, and do not guess what cannot be read. "
    "Plain sentences in the language of the page, at most 150 words."
)
MAX_TOKENS = 400
IMAGE_SIDE = 1024
"""Pixels on the long side of the image that is sent."""
THIS_PAGE = frozenset({400, 413, 422})
"""Statuses that refuse this page; the others would refuse every page."""
JPEG_QUALITY = 90
PATH = "chat/completions"


class VisionCaptioner:
    """Captions from the page's text layer and from its image (`--caption vision`).

    Args:
        base_url: Such as http://127.0.0.1:8000/v1; requests go to chat/completions below it.
        model: As the address calls it.
        cache: SQLite file of answers.
        key: Sent as bearer token; empty where none is needed.
        prompt: What is asked of every page.
        image_side: Pixels on the long side of the image that is sent.
        max_tokens: Of one answer, what the model thinks included.
        concurrency: Requests at once.
        timeout: Seconds an answer may take.
        extra: More fields of the request, or others in place of its own; None leaves one out, such as
            {"max_tokens": None, "max_completion_tokens": 400} for models that want it so.
        sleep: Waits between tries; by default until `close`.

    Raises:
        SettingsError: The address, the key or the model cannot be one.
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
            raise SettingsError("captions by a vision model need the model's name", "as its address calls it")
        fields = {"model": model, "max_tokens": max_tokens, "temperature": 0, **(extra or {})}
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._prompt = prompt
        self._side = image_side
        self._concurrency = concurrency
        self._client = JsonClient(base_url, key, timeout, sleep)
        self._cache = CaptionCache(cache, _digest([self._fields, prompt, image_side]))

    def caption(self, pages: Sequence[Page]) -> list[Caption]:
        """One caption a page, in order: its text layer's, then on a line of its own what the model says.

        A page that the model refuses, or says nothing of, has the former alone, and the reason.

        Raises:
            RemoteError: The address does not answer, or refuses every page; answers that came are kept.
            StoreError: The cache cannot be used.
        """
        answers: dict[str, str | PageFailed] = {}
        missing: dict[str, Page] = {}
        for page in pages:
            known = self._cache.get(page.id)
            if known is None:
                missing[page.id] = page
            else:
                answers[page.id] = known
        answers |= self._ask_all(missing)
        return [_join(page, answers[page.id]) for page in pages]

    def close(self) -> None:
        """Close connections and cache."""
        self._client.close()
        self._cache.close()

    def _ask_all(self, missing: Mapping[str, Page]) -> dict[str, str | PageFailed]:
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = {page_id: pool.submit(self._ask, page) for page_id, page in missing.items()}
            try:
                return {page_id: future.result() for page_id, future in futures.items()}
            except BaseException:  # what is on its way is waited for, for it costs all the same
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, page: Page) -> str | PageFailed:
        """What the model says of one page, kept as soon as it has said it."""
        if page.image is None:
            return PageFailed("no image for the vision model", "ingest the file again")
        try:
            answer = self._client.post(PATH, self._request(page.image))
        except RemoteError as error:
            if error.status not in THIS_PAGE:
                raise
            return PageFailed(error.message, error.hint)
        text, ended_by = self._read(answer)
        if not text:
            hint = "give it more tokens" if ended_by == "length" else "try another prompt or model"
            return PageFailed(f"the vision model says nothing ({ended_by or 'no reason given'})", hint)
        self._cache.put(page.id, text)
        return text

    def _request(self, image: PageImage) -> dict[str, Any]:
        url = data_url(_sent(image, self._side))
        content = [
            {"type": "text", "text": self._prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return {"messages": [{"role": "user", "content": content}], **self._fields}

    def _read(self, answer: Mapping[str, Any]) -> tuple[str, str]:
        """The text on one line, and what ended it."""
        try:
            choice = answer["choices"][0]
            text, ended_by = choice["message"]["content"] or "", choice.get("finish_reason") or ""
            thought = text.rpartition("</think>")[2]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise RemoteError(
                f"{self._client.address(PATH)} does not answer as an OpenAI-compatible address does",
                "check the address, which often ends in /v1",
            ) from None
        said = "" if thought.lstrip().startswith("<think>") else thought
        return " ".join(said.split()), str(ended_by)


def _sent(image: PageImage, side: int) -> bytes:
    """The image as JPEG, made no longer than `side` pixels; as it is where it is not longer."""
    from PIL import Image as pillow

    if max(image.width, image.height) <= side:
        return image.jpeg
    with pillow.open(io.BytesIO(image.jpeg)) as opened:
        return jpeg_within(fit(opened.convert("RGB"), side), JPEG_QUALITY)[0]


def _join(page: Page, answer: str | PageFailed) -> Caption:
    own = text_layer_caption(page)
    return Caption(own, answer) if isinstance(answer, PageFailed) else Caption(f"{own}\n{answer}")


def _digest(recipe: object) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
