"""Voyage's form of request and answer, against a server on this machine; nothing here was asked of Voyage."""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from docrag.common.http import JsonClient
from docrag.encode.base import EncoderOptions, MixedEncoder
from docrag.encode.models import voyage
from docrag.encode.models.voyage import jpeg_for_voyage, requests, text_cost
from docrag.encode.registry import name_of, page_encoder
from docrag.errors import ModelUnavailable, PageFailed, RemoteError, SettingsError
from docrag.types import PageImage
from tests.samples import make_image, make_page, picture_page
from tests.servers import Answer, ModelServer, Request

KEY = "pa-secret-4711"
NAME = "voyage-multimodal-3"
Start = Callable[..., ModelServer]


def vector(content: object, dim: int) -> list[float]:
    """Another one for each content, of another length than 1."""
    seed = int.from_bytes(hashlib.sha256(repr(content).encode()).digest()[:4])
    return (3 * np.random.default_rng(seed).standard_normal(dim)).tolist()


def embed(request: Request) -> Answer:
    """What Voyage answers by its documentation, the embeddings in another order than the inputs."""
    dim = request.body.get("output_dimension", 1024)
    data = [
        {"object": "embedding", "index": i, "embedding": vector(item["content"], dim)}
        for i, item in enumerate(request.body["inputs"])
    ]
    usage = {"text_tokens": 0, "image_pixels": 0, "total_tokens": 0}
    return Answer(body={"object": "list", "data": data[::-1], "model": request.body["model"], "usage": usage})


def unit(content: object, dim: int = 1024) -> np.ndarray:
    row = np.array(vector(content, dim))
    return row / np.linalg.norm(row)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a server that takes the place of Voyage."""
    servers = []
    monkeypatch.setattr("docrag.common.http.JsonClient", partial(JsonClient, sleep=lambda _: None))

    def serve(*script: Answer, answer: Callable[[Request], Answer] = embed) -> ModelServer:
        server = ModelServer(answer, script).__enter__()
        servers.append(server)
        monkeypatch.setenv("VOYAGE_API_KEY", KEY)
        monkeypatch.setenv("VOYAGE_BASE_URL", server.url)
        return server

    yield serve
    for server in servers:
        server.__exit__()


def sent_image(piece: dict[str, str]) -> Image.Image:
    """The image in a piece of content, which must be a JPEG."""
    assert set(piece) == {"type", "image_base64"}
    assert piece["type"] == "image_base64"
    head, _, data = piece["image_base64"].partition(",")
    assert head == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == "JPEG"
    image.load()
    return image


def test_pages_go_out_as_documents_untouched_and_come_back_in_order(start: Start):
    server = start()
    pages = [picture_page(seed) for seed in range(3)]
    encoder = page_encoder(NAME)
    encoded = encoder.encode_pages(pages)
    [request] = server.requests
    assert request.path == "/v1/multimodalembeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert set(request.body) == {"model", "truncation", "input_type", "inputs"}
    assert (request.body["model"], request.body["truncation"]) == (NAME, True)
    assert request.body["input_type"] == "document"
    for page, item, multi in zip(pages, request.body["inputs"], encoded, strict=True):
        [piece] = item["content"]
        assert sent_image(piece).size == (300, 400)
        assert base64.b64decode(piece["image_base64"].partition(",")[2]) == page.image.jpeg
        np.testing.assert_allclose(multi.vectors, [unit([piece])], atol=1e-6)
        np.testing.assert_array_equal(multi.boxes, [[0, 0, 1, 1]])
        assert multi.vectors.dtype == np.float32


def test_queries_are_texts_even_where_they_look_like_images(start: Start):
    server = start()
    texts = ["When does the ferry leave?", "http://example.org/photo.png", "data:image/png;base64,xxxx"]
    encoded = page_encoder(NAME).encode_queries(texts)
    [request] = server.requests
    assert request.body["input_type"] == "query"
    assert [item["content"] for item in request.body["inputs"]] == [
        [{"type": "text", "text": text}] for text in texts
    ]
    for multi, text in zip(encoded, texts, strict=True):
        np.testing.assert_allclose(multi.vectors, [unit([{"type": "text", "text": text}])], atol=1e-6)
        assert multi.boxes is None


def test_images_are_queries_too(start: Start):
    server = start()
    encoder = page_encoder(NAME)
    assert isinstance(encoder, MixedEncoder)
    [encoded] = encoder.encode_query_images([make_image(1).convert("P")])
    assert server.requests[0].body["input_type"] == "query"
    [piece] = server.requests[0].body["inputs"][0]["content"]
    assert sent_image(piece).size == (300, 400)
    assert encoded.boxes is None


def test_a_mixed_list_keeps_its_order(start: Start):
    server = start()
    items = [make_image(1), "a chart", make_image(2), "a ship"]
    rows = page_encoder(NAME).encode(items)
    [request] = server.requests
    assert request.body["input_type"] is None
    contents = [item["content"] for item in request.body["inputs"]]
    assert [piece["type"] for [piece] in contents] == ["image_base64", "text", "image_base64", "text"]
    np.testing.assert_allclose(rows, [unit(content) for content in contents], atol=1e-6)


def test_labels_are_probabilities_in_the_order_of_the_cosines(start: Start):
    start()
    encoder = page_encoder(NAME)
    images = encoder.encode([make_image(1), make_image(2)])
    labels = ["a chart", "a ship", "an invoice"]
    found = encoder.label(images, labels)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    texts = np.concatenate([multi.vectors for multi in encoder.encode_queries(labels)])
    np.testing.assert_array_equal(np.argsort(found), np.argsort(images @ texts.T))


@pytest.mark.parametrize("dim", [256, 512, 1024, 2048])
def test_the_dimension_of_the_newer_model_is_part_of_its_name(start: Start, dim: int):
    server = start()
    name = "voyage-multimodal-3.5" + (f"-{dim}" if dim != 1024 else "")
    encoder = page_encoder(name)
    [encoded] = encoder.encode_queries(["ferry"])
    assert server.requests[0].body["model"] == "voyage-multimodal-3.5"
    assert server.requests[0].body["output_dimension"] == dim
    assert encoded.vectors.shape == (1, dim)
    assert encoder.spec.dim == dim
    assert name_of(encoder.spec.fingerprint()) == name
    assert page_encoder(name).spec == encoder.spec


def test_no_key_is_told_when_the_model_is_first_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    encoder = page_encoder(NAME)
    assert (encoder.spec.library, encoder.spec.kind, encoder.spec.dim) == ("voyage", "single", 1024)
    assert encoder.encode_pages([]) == []
    assert encoder.encode([]).shape == (0, 1024)
    with pytest.raises(ModelUnavailable, match="VOYAGE_API_KEY is not set"):
        encoder.encode_queries(["ferry"])


@pytest.mark.parametrize(("key", "host"), [(KEY, "api.voyageai.com"), ("al-4711", "ai.mongodb.com")])
def test_the_usual_address_is_that_of_the_key(monkeypatch: pytest.MonkeyPatch, key: str, host: str):
    monkeypatch.setenv("VOYAGE_API_KEY", key)
    monkeypatch.setenv("VOYAGE_BASE_URL", "")
    client = page_encoder(NAME)._client
    assert client.address(voyage.PATH) == f"https://{host}/v1/multimodalembeddings"


def test_a_page_without_an_image_is_named(start: Start):
    server = start()
    with pytest.raises(PageFailed, match=r"page 1 of report\.pdf has no image"):
        page_encoder(NAME).encode_pages([make_page("text")])
    assert server.requests == []


def test_limits_of_rate_and_passing_failures_are_sat_out(start: Start):
    server = start(Answer(429), Answer(429, headers={"Retry-After": "1"}), Answer(500))
    assert len(page_encoder(NAME).encode_queries(["ferry"])) == 1
    assert len(server.requests) == 4


def test_a_wrong_key_is_told_without_the_key(start: Start):
    start(Answer(401, {"detail": f"Provided API key {KEY} is invalid."}))
    with pytest.raises(RemoteError, match="401: Provided API key") as caught:
        page_encoder(NAME).encode_queries(["ferry"])
    assert KEY not in str(caught.value)


GOOD = [1.0] * 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"embedding": GOOD}], "1 embeddings for 2 inputs"),
        (3 * [{"embedding": GOOD}], "3 embeddings for 2 inputs"),
        (2 * [{"embedding": GOOD[:512]}], r"shape \(512,\)"),
        ([{"embedding": GOOD}, {"embedding": GOOD[:512]}], "no lists of numbers"),
        ([{"embedding": GOOD}, {"embedding": [math.nan, *GOOD[1:]]}], "not finite"),
        ([{"embedding": GOOD}, {"embedding": [None, *GOOD[1:]]}], "not finite"),
        ([{"embedding": GOOD}, {"embedding": 1024 * [0]}], "zero"),
        ([{"embedding": GOOD, "index": 0}, {"embedding": GOOD, "index": 0}], r"inputs \[0, 0\]"),
        ([{"embedding": GOOD}, {}], "no lists of numbers"),
        ([{"embedding": GOOD}, {"embedding": "UklGRg=="}], "no lists of numbers"),
        ([GOOD, GOOD], "no list of embeddings"),
        (None, "no list of embeddings"),
    ],
)
def test_answers_that_cannot_be_used_are_refused(start: Start, data: object, message: str):
    start(Answer(body={"data": data}))
    with pytest.raises(RemoteError, match=message):
        page_encoder(NAME).encode_queries(["ferry", "dawn"])


def test_an_answer_without_places_is_in_the_order_of_the_inputs(start: Start):
    start(Answer(body={"data": [{"embedding": [1.0, *1023 * [0]]}, {"embedding": [0, 1.0, *1022 * [0]]}]}))
    one, other = page_encoder(NAME).encode_queries(["ferry", "dawn"])
    assert (one.vectors[0, 0], other.vectors[0, 1]) == (1, 1)


def sizes(server: ModelServer) -> list[int]:
    """Inputs of each request."""
    return [len(request.body["inputs"]) for request in server.requests]


@pytest.mark.slow
def test_a_request_has_a_thousand_inputs_at_most(start: Start):
    server = start()
    found = page_encoder(NAME).encode([f"text {i}" for i in range(1001)])
    assert sizes(server) == [1000, 1]
    np.testing.assert_allclose(found[1000], unit([{"type": "text", "text": "text 1000"}]), atol=1e-6)


def test_a_request_has_no_more_inputs_than_asked_for(start: Start):
    server = start()
    encoded = page_encoder(NAME, EncoderOptions(batch_size=2)).encode_pages(5 * [picture_page(1)])
    assert sizes(server) == [2, 2, 1]
    assert len(encoded) == 5


def test_images_are_counted_by_their_pixels(start: Start):
    server = start()
    jpeg = jpeg_for_voyage(Image.new("RGB", (1280, 1280)))[0]
    page = replace(picture_page(1), image=PageImage(jpeg, 1280, 1280))
    page_encoder(NAME).encode_pages(110 * [page])  # of 2926 tokens each
    assert sizes(server) == [109, 1]


def test_texts_are_counted_by_their_bytes(start: Start):
    server = start()
    page_encoder(NAME).encode_queries(["ü" * 80_000, "ü" * 80_000, "u", "u" * 400_000, "u"])
    assert sizes(server) == [2, 1, 1, 1]


def test_requests_are_cut_by_bytes_too():
    heavy = voyage.Cost(1, 9_000_000)
    assert list(requests([(i, heavy) for i in range(5)])) == [[0, 1], [2, 3], [4]]
    assert list(requests([])) == []


def test_lone_surrogates_of_a_command_line_are_counted():
    assert text_cost("\udcfc").tokens == 1


def test_it_has_no_choice_of_patches():
    with pytest.raises(SettingsError, match="--max-patches cannot change that") as refused:
        page_encoder(NAME, EncoderOptions(max_patches=256))
    assert "--resolution" in refused.value.hint


@pytest.mark.parametrize(
    ("options", "size"), [(EncoderOptions(), (960, 1280)), (EncoderOptions(resolution=640), (480, 640))]
)
def test_pages_are_shrunk_to_the_side_that_the_model_is_given(start: Start, options: EncoderOptions, size):
    server = start()
    encoder = page_encoder(NAME, options)
    encoder.encode_pages([picture_page(1, 1500, 2000)])
    [piece] = server.requests[0].body["inputs"][0]["content"]
    assert sent_image(piece).size == size
    assert encoder.spec.image_side == max(size)
    assert encoder.spec.fingerprint().get("resolution", 0) == options.resolution


@pytest.mark.slow
def test_images_beyond_sixteen_million_pixels_are_shrunk(start: Start):
    server = start()
    large = Image.new("RGB", (5000, 4000))
    encoder = page_encoder(NAME, EncoderOptions(resolution=5000))
    encoder.encode_query_images([large])
    content = io.BytesIO()
    large.save(content, "JPEG")
    encoder.encode_pages([replace(picture_page(1), image=PageImage(content.getvalue(), *large.size))])
    for request in server.requests:
        width, height = sent_image(request.body["inputs"][0]["content"][0]).size
        assert 15_900_000 < width * height <= 16_000_000
        assert width / height == pytest.approx(1.25, rel=1e-3)


def test_images_of_too_many_bytes_are_shrunk(monkeypatch: pytest.MonkeyPatch):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8))
    whole, pixels = jpeg_for_voyage(noise)
    assert pixels == 120_000
    monkeypatch.setattr(voyage, "IMAGE_BYTES", len(whole) - 1)
    smaller, pixels = jpeg_for_voyage(noise)
    assert len(smaller) < len(whole)
    assert pixels == 225 * 300
    assert Image.open(io.BytesIO(smaller)).size == (225, 300)
