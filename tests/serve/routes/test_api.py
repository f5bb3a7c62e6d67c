import base64
import io
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from docrag import Index
from docrag.search.hit_json import hit_json
from docrag.serve.schemas import SearchResponse
from docrag.types import page_id
from tests.samples import make_image

QUESTION = "What do four red flashes mean?"


def as_base64(image: Image.Image, format: str = "PNG") -> str:
    content = io.BytesIO()
    image.save(content, format)
    return base64.b64encode(content.getvalue()).decode()


def test_a_search_returns_what_the_command_line_prints(client: TestClient, demo_index: Index):
    response = client.post("/v1/search", json={"query": QUESTION, "k": 3, "mode": "late"}).json()
    hits = demo_index.search(QUESTION, k=3, mode="late")
    assert response["query"] == QUESTION
    assert response["took_ms"] > 0
    printed = [hit_json(hit) for hit in hits]
    assert [{name: hit[name] for name in printed[0]} for hit in response["hits"]] == printed
    first = response["hits"][0]
    assert first["document_id"] == hits[0].document_id
    assert client.get(first["image_url"]).content == hits[0].image_path.read_bytes()


def test_regions_can_be_left_out_and_are_not_taken_from_the_cache(client: TestClient):
    request = {"query": QUESTION, "k": 3}
    whole = client.post("/v1/search", json=request).json()["hits"]
    lean = client.post("/v1/search", json={**request, "regions": False}).json()["hits"]
    assert all(hit["regions"] for hit in whole)
    assert lean == [{**hit, "regions": []} for hit in whole]
    assert client.post("/v1/search", json=request).json()["hits"] == whole


def test_a_search_has_the_form_that_the_description_shows(client: TestClient):
    response = client.post("/v1/search", json={"query": QUESTION})
    assert response.headers["content-type"] == "application/json"
    assert len(response.json()["hits"]) == 10
    parsed = SearchResponse.model_validate(response.json(), strict=False, extra="forbid")
    assert parsed.model_dump(mode="json") == response.json()
    description = client.get("/openapi.json").json()["paths"]["/v1/search"]["post"]["responses"]["200"]
    assert description["content"]["application/json"]["schema"]["$ref"].endswith("/SearchResponse")


def test_a_filter_takes_one_value_or_any_of_several(client: TestClient):
    documents = client.get("/v1/documents").json()["documents"]
    names = [document["file"].rpartition("/")[2] for document in documents]
    for file_name in (names[0], names[:2]):
        request = {"query": "water", "k": 100, "filter": {"file_name": file_name}}
        found = {
            hit["file"].rpartition("/")[2] for hit in client.post("/v1/search", json=request).json()["hits"]
        }
        assert found == {file_name} if isinstance(file_name, str) else found == set(file_name)
    none = client.post("/v1/search", json={"query": "water", "filter": {"page": 10**6}}).json()
    assert none["hits"] == []


@pytest.mark.parametrize(
    ("request_body", "status", "message"),
    [
        ({}, 400, "the query is empty"),
        ({"query": "x", "image": "bm90IGFuIGltYWdl"}, 400, "the image cannot be read"),
        ({"query": "x", "image": as_base64(make_image(1))}, 400, "takes an image"),
        ({"query": "x", "k": 0}, 422, "body.k"),
        ({"query": "x", "mode": "psychic"}, 422, "body.mode"),
        ({"query": "x", "filter": {"page": True}}, 422, "body.filter"),
        ({"query": "x", "filter": {"page": []}}, 422, "body.filter"),
        ({"query": "x", "filter": {"page": 10**30}}, 400, "filter page"),
        ({"query": "x", "surprise": 1}, 422, "body.surprise"),
        ({"query": "x" * 10_001}, 422, "body.query"),
    ],
)
def test_errors_have_one_shape(client: TestClient, request_body: dict, status: int, message: str):
    response = client.post("/v1/search", json=request_body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert message in error["message"]
    assert error["hint"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"query": "\\ud800"}', b'{"query": NaN}', b"\xff\xfe", b"[]", b"[" * 100_000]
)
def test_a_malformed_body_is_refused(client: TestClient, body: bytes):
    response = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422), response.text
    assert response.json()["error"]["message"]


def test_a_page_has_its_text_blocks_and_neighbours(client: TestClient, demo_index: Index):
    document = max(demo_index.documents(), key=lambda document: document.pages)
    first, second, last = (page_id(document.id, n) for n in (1, 2, document.total_pages))
    body = client.get(f"/v1/pages/{second}").json()
    stored = demo_index.page(second)
    assert (body["previous"], body["page"], body["text"]) == (first, 2, stored.text)
    assert [region["text"] for region in body["regions"]] == [block.text for block in stored.blocks]
    assert all(0 <= side <= 1 for region in body["regions"] for side in region["box"])
    assert client.get(f"/v1/pages/{first}").json()["previous"] is None
    assert client.get(f"/v1/pages/{last}").json()["next"] is None


def test_what_does_not_exist_is_not_found(client: TestClient):
    nowhere = page_id("ab" * 32, 1)
    for path in (f"/v1/pages/{nowhere}", f"/pages/{'ab' * 32}/1.jpg", "/v1/nothing", "/v1/ingest/x"):
        response = client.get(path)
        assert response.status_code in (404, 405), path
        assert response.json()["error"]["message"]


def test_a_page_image_is_cached_and_comes_in_some_widths(client: TestClient, demo_index: Index):
    hit = demo_index.search(QUESTION, k=1)[0]
    path = hit.image_url.removeprefix("http://127.0.0.1:8000")
    whole = client.get(path)
    assert whole.headers["content-type"] == "image/jpeg"
    assert "immutable" in whole.headers["cache-control"]
    again = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    sizes = set()
    for width in (160, 480, 960):
        response = client.get(path, params={"w": width})
        image = Image.open(io.BytesIO(response.content))
        assert image.width == min(width, hit.image().width)
        assert image.height / image.width == pytest.approx(hit.image().height / hit.image().width, rel=0.01)
        assert response.headers["etag"] != whole.headers["etag"]
        sizes.add(len(response.content))
    assert len(sizes) == 3
    assert client.get(path, params={"w": 161}).status_code == 422


@pytest.mark.slow
def test_a_search_can_bring_an_image(tmp_path, checkpoint):
    from docrag.serve.app import create_app
    from tests.samples import write_pdf

    write_pdf(tmp_path / "a.pdf", "one page", "another page")
    image = make_image(3)
    image.save(tmp_path / "b.png")
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest([tmp_path / "a.pdf", tmp_path / "b.png"])
        client = TestClient(create_app(index), base_url="http://127.0.0.1:8000")
        for encoded in (as_base64(image), "data:image/png;base64," + as_base64(image)):
            hits = client.post("/v1/search", json={"image": encoded, "mode": "cosine", "k": 1}).json()["hits"]
            assert hits[0]["file"].endswith("b.png")


def test_a_heatmap_has_an_image_for_each_word(client: TestClient, demo_index: Index):
    hit = demo_index.search(QUESTION, k=1)[0]
    body = client.get(f"/v1/pages/{hit.page_id}/heatmap", params={"q": QUESTION}).json()
    heatmap = demo_index.heatmap(hit.page_id, QUESTION)
    assert body["words"] == [word.word for word in heatmap.words]
    for url, word in zip(body["image_urls"], heatmap.words, strict=True):
        response = client.get(url)
        assert response.headers["content-type"] == "image/png"
        assert response.content == word.png()
    beyond = client.get(f"/v1/pages/{hit.page_id}/heatmap/{len(body['words'])}.png?q={quote(QUESTION)}")
    assert beyond.status_code == 404
