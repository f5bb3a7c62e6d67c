"""Captions by a vision model, against a local server that stands in for its API."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from docrag.caption.cache import CaptionCache
from docrag.caption.text_layer import text_layer_caption
from docrag.caption.vision import PROMPT, VisionCaptioner
from docrag.errors import RemoteError, SettingsError, StoreError
from docrag.types import Page
from tests.samples import make_page, picture_page
from tests.servers import Answer, ModelServer, Request

KEY = "sk-secret-4711"
MODEL = "qwen3-vl:8b"
ROOT = Path(__file__).parents[2]


def say(text: str | None, finish_reason: str = "stop") -> Answer:
    message = {"role": "assistant", "content": text}
    return Answer(body={"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def sent_image(request: Request) -> bytes:
    """The image in a request, whose form is checked against that of the chat API."""
    [message] = request.body["messages"]
    assert message["role"] == "user"
    text, image = message["content"]
    assert text["type"] == "text"
    assert set(image) == {"type", "image_url"}
    assert image["type"] == "image_url"
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return base64.b64decode(data, validate=True)


def see(request: Request) -> Answer:
    """Gives another answer for each image."""
    return replace(
        say(f"  A picture\n of {len(sent_image(request))} bytes. "), after=0.01 * (hash(PROMPT) % 5)
    )


def seen(page: Page) -> str:
    return f"A picture of {len(page.image.jpeg)} bytes."


class Desk:
    """A server and captioners that use it, all with the same cache."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "deep" / "captions.sqlite"
        self.server: ModelServer | None = None
        self.waits: list[float] = []
        self._captioners: list[VisionCaptioner] = []

    def serve(self, *script: Answer, answer: Callable[[Request], Answer] = see) -> VisionCaptioner:
        self.server = ModelServer(answer, script).__enter__()
        return self.captioner()

    def captioner(self, **options) -> VisionCaptioner:
        defaults = {"model": MODEL, "cache": self.cache, "key": KEY, "sleep": self.waits.append}
        self._captioners.append(VisionCaptioner(self.server.url, **{**defaults, **options}))
        return self._captioners[-1]

    def close(self) -> None:
        for captioner in self._captioners:
            captioner.close()
        if self.server:
            self.server.__exit__()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_a_request_sends_one_page_in_the_form_of_the_chat_api(desk: Desk):
    page = picture_page(1)
    desk.serve().caption([page])
    [request] = desk.server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert set(request.body) == {"model", "max_tokens", "temperature", "messages"}
    assert (request.body["model"], request.body["max_tokens"], request.body["temperature"]) == (MODEL, 400, 0)
    assert request.body["messages"][0]["content"][0]["text"] == PROMPT
    assert sent_image(request) == page.image.jpeg


def test_the_caption_follows_that_of_the_text_layer(desk: Desk):
    page = picture_page(1)
    [described] = desk.serve().caption([page])
    assert described.text == f"{text_layer_caption(page)}\n{seen(page)}"
    assert described.error is None


@pytest.mark.parametrize(("side", "size"), [(1024, (768, 1024)), (200, (150, 200)), (3000, (1500, 2000))])
def test_the_image_is_shrunk_to_a_side(desk: Desk, side: int, size: tuple[int, int]):
    desk.serve()
    desk.captioner(image_side=side).caption([picture_page(1, 1500, 2000)])
    image = Image.open(io.BytesIO(sent_image(desk.server.requests[0])))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", size)
    image.load()


def test_order_is_kept_with_simultaneous_requests(desk: Desk):
    def slow_first(request: Request) -> Answer:
        return replace(see(request), after=0.05 if len(desk.server.requests) % 2 else 0.3)

    pages = [picture_page(seed) for seed in range(12)]
    desk.serve(answer=slow_first)
    captions = desk.captioner(concurrency=4).caption(pages)
    assert [caption.text.splitlines()[-1] for caption in captions] == [seen(page) for page in pages]
    assert 2 <= desk.server.most_at_once <= 4


def test_a_page_that_occurs_twice_is_requested_once(desk: Desk):
    page = picture_page(1)
    one, other = desk.serve().caption([page, page])
    assert one == other
    assert len(desk.server.requests) == 1


def test_a_second_run_sends_nothing(desk: Desk):
    pages = [picture_page(seed) for seed in range(3)]
    first = desk.serve().caption(pages)
    assert desk.captioner().caption(pages[::-1]) == first[::-1]
    assert len(desk.server.requests) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"prompt": "What is this?"},
        {"image_side": 128},
        {"max_tokens": 50},
        {"extra": {"seed": 1}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_settings_cause_new_requests(desk: Desk, other: dict[str, object]):
    page = picture_page(1)
    desk.serve().caption([page])
    desk.captioner(**other).caption([page])
    assert len(desk.server.requests) == 2
    desk.captioner().caption([page])
    assert len(desk.server.requests) == 2


def test_fields_can_be_added_and_removed(desk: Desk):
    desk.serve()
    extra = {"max_tokens": None, "max_completion_tokens": 400, "temperature": None}
    desk.captioner(extra=extra).caption([picture_page(1)])
    assert set(desk.server.requests[0].body) == {"model", "max_completion_tokens", "messages"}


def test_busy_and_failing_servers_are_retried(desk: Desk):
    script = [Answer(429, headers={"Retry-After": "3"}), Answer(429), Answer(500), Answer(drop=True)]
    captioner = desk.serve(*script[:2])
    captioner.caption([picture_page(1)])
    assert len(desk.server.requests) == 3
    assert 3 <= desk.waits[0] <= 4
    desk.server.__exit__()
    desk.serve(*script[2:]).caption([picture_page(2)])
    assert len(desk.server.requests) == 3


def refuse_second(request: Request) -> Answer:
    """Refuses the image of picture_page(2) and accepts all others."""
    if sent_image(request) == picture_page(2).image.jpeg:
        return Answer(400, {"error": {"message": "cannot identify image file"}})
    return see(request)


def test_a_refused_page_is_reported_and_the_others_are_cached(desk: Desk):
    captioner = desk.serve(answer=refuse_second)
    pages = [picture_page(seed) for seed in range(5)]
    captions = captioner.caption(pages)
    assert captions[2].error.message.endswith("400: cannot identify image file")
    assert [caption.error for caption in captions].count(None) == 4
    assert len(desk.server.requests) == 5
    captioner.caption(pages[:2] + pages[3:])
    assert len(desk.server.requests) == 5


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_page_has_its_text_layer_caption_and_the_reason(desk: Desk, status: int):
    captioner = desk.serve(Answer(status, {"error": "too large"}))
    [described] = captioner.caption([picture_page(2)])
    assert described.text == text_layer_caption(picture_page(2))
    assert described.error.message.endswith(f"answered {status}: too large")
    [described] = captioner.caption([picture_page(2)])  # was not cached
    assert described.error is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (say(""), r"answered with no text \(stop\)"),
        (say(" \n "), r"answered with no text"),
        (say(None, "content_filter"), r"answered with no text \(content_filter\)"),
        (say("<think>Hmm, a chart", "length"), r"answered with no text \(length\)"),
        (say("<think>Hmm</think>\n", ""), r"answered with no text \(no reason given\)"),
    ],
)
def test_an_empty_answer_is_an_error_and_not_cached(desk: Desk, answer: Answer, message: str):
    captioner = desk.serve(answer)
    [described] = captioner.caption([picture_page(1)])
    assert re.search(message, described.error.message)
    assert ("tokens" in described.error.hint) == ("length" in message)
    assert seen(picture_page(1)) in captioner.caption([picture_page(1)])[0].text


def test_the_reasoning_of_a_model_is_left_out(desk: Desk):
    captioner = desk.serve(say("<think>A bar\nchart?</think>\n\nA bar chart of revenue.\n"))
    assert captioner.caption([picture_page(1)])[0].text.splitlines()[1:] == ["A bar chart of revenue."]


def test_cached_requested_and_refused_pages_are_logged(desk: Desk, caplog: pytest.LogCaptureFixture):
    captioner = desk.serve(answer=refuse_second)
    captioner.caption([picture_page(1)])
    with caplog.at_level(logging.INFO, logger="docrag.caption"):
        captioner.caption([picture_page(1), picture_page(2)])
    counts, refusal = caplog.messages
    assert counts == "vision captions: 1 in the cache, 1 to request"
    assert refusal.startswith("no vision caption for page 3 of report.pdf: ")
    assert "answered 400: cannot identify image file" in refusal


def test_a_page_without_an_image_is_an_error(desk: Desk):
    [described] = desk.serve().caption([make_page("A line of text", title="Report")])
    assert described.error.message == "no image for the vision model"
    assert described.text
    assert desk.server.requests == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_stops_everything(desk: Desk, status: int):
    def refuse(request: Request) -> Answer:
        return Answer(status, {"error": {"message": f"{KEY} is not allowed"}}, after=0.1)

    captioner = desk.serve(answer=refuse)
    with pytest.raises(RemoteError, match=f"answered {status}") as caught:
        captioner.caption([picture_page(seed) for seed in range(30)])
    assert KEY not in str(caught.value)
    assert len(desk.server.requests) < 30


def test_answers_that_came_before_a_failure_are_cached(desk: Desk):
    pages = [picture_page(seed) for seed in range(4)]
    desk.serve(say("One."), say("Two."), answer=lambda request: Answer(401))
    with pytest.raises(RemoteError):
        desk.captioner(concurrency=1).caption(pages)
    captions = desk.captioner(concurrency=1).caption(pages[:2])
    assert [caption.text.splitlines()[-1] for caption in captions] == ["One.", "Two."]


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": []}, {"choices": [{"text": "x"}]}, {"choices": [{"message": {"content": ["x"]}}]}],
)
def test_an_answer_of_another_form_is_an_error(desk: Desk, body: dict[str, object]):
    captioner = desk.serve(Answer(body=body))
    with pytest.raises(RemoteError, match="OpenAI-compatible"):
        captioner.caption([picture_page(1)])


@pytest.mark.slow
def test_a_killed_run_pays_nothing_twice(desk: Desk):
    """The process is killed while its third request waits; the two earlier answers are on disk."""
    desk.serve(say("One."), say("Two."), Answer(after=60))
    code = (
        "from pathlib import Path; from docrag.caption.vision import VisionCaptioner\n"
        "from tests.samples import picture_page\n"
        f"cache = Path({str(desk.cache)!r})\n"
        f"captioner = VisionCaptioner({desk.server.url!r}, {MODEL!r}, cache=cache, concurrency=1)\n"
        "captioner.caption([picture_page(seed) for seed in range(4)])"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as killed:
        while len(desk.server.requests) < 3 and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
    captions = desk.captioner().caption([picture_page(seed) for seed in range(4)])
    assert [caption.text.splitlines()[-1] for caption in captions[:2]] == ["One.", "Two."]
    assert len(desk.server.requests) == 5


def test_closing_ends_the_wait_for_a_retry(desk: Desk):
    desk.serve(answer=lambda request: Answer(429, headers={"Retry-After": "100"}))
    captioner = VisionCaptioner(desk.server.url, MODEL, cache=desk.cache)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(captioner.caption, [picture_page(1)])
        while not desk.server.requests:
            time.sleep(0.01)
        time.sleep(0.1)
        captioner.close()
        with pytest.raises(RemoteError, match="closed before an answer came"):
            pending.result(timeout=10)


def test_no_pages_need_no_request(desk: Desk):
    assert desk.serve().caption([]) == []


def test_a_model_needs_a_name(tmp_path: Path):
    with pytest.raises(SettingsError, match="name"):
        VisionCaptioner("http://127.0.0.1:9/v1", " ", cache=tmp_path / "captions")


def test_threads_share_a_cache(tmp_path: Path):
    cache = CaptionCache(tmp_path / "captions", "recipe")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cache.put(f"page {i}", f"caption {i}"), range(50)))
    with sqlite3.connect(tmp_path / "captions") as other:
        assert other.execute("SELECT count(*) FROM captions").fetchone() == (50,)
    other.close()
    assert cache.get("page 7") == "caption 7"
    assert cache.get("page 50") is None
    cache.close()


def test_a_file_that_is_not_a_cache_is_an_error(tmp_path: Path):
    file = tmp_path / "captions"
    file.write_text(json.dumps("no database") * 500)
    with pytest.raises(StoreError, match="not a database"):
        CaptionCache(file, "recipe")
