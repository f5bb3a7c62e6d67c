"""Images to search by."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from docrag import Index, demo
from docrag.errors import NotFound, QueryError
from docrag.serve.app import create_app
from docrag.serve.query_images import QueryImages, decode_image
from tests.samples import make_image
from tests.serve.conftest import HERE
from tests.serve.elements import HOSTILE, PARTIAL, Elements


@pytest.mark.slow
def test_an_image_can_be_searched_by_if_an_encoder_takes_images(tmp_path: Path, checkpoint):
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest(demo.documents() / "tarn12_manual.pdf")
        client = TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)
        assert 'id="by-image"' in client.get("/").text
        content = io.BytesIO()
        make_image(1).save(content, "PNG")
        sent = {"image": (f"{HOSTILE}.png", content.getvalue(), "image/png")}
        page = client.post("/by-image", files=sent, data={"q": "", "k": "5"}, headers={"Origin": HERE})
        assert page.status_code == 200
        assert len(Elements(page.text).all("li", "hit")) == 4
        assert "onerror=alert(1)>" not in page.text
        broken = {"image": ("a.png", b"\x89PNG but not really", "image/png")}
        response = client.post("/by-image", files=broken, headers={**PARTIAL, "Origin": HERE})
        assert (response.status_code, "the image cannot be read" in response.text) == (400, True)
        assert client.post("/by-image", data={"q": "a"}, headers={"Origin": HERE}).status_code == 400


@pytest.mark.slow
def test_the_address_of_a_search_by_image_works_as_long_as_the_image_is_kept(tmp_path: Path, checkpoint):
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest(demo.documents() / "tarn12_manual.pdf")
        client = TestClient(create_app(index), base_url=HERE, follow_redirects=False)
        content = io.BytesIO()
        make_image(1).save(content, "PNG")
        sent = {"image": ("a.png", content.getvalue(), "image/png")}
        response = client.post(
            "/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers={"Origin": HERE}
        )
        address = response.headers["Location"]
        assert (response.status_code, address.partition("&like=")[0]) == (303, "/?q=a+lamp&k=5")
        part = client.post("/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers=PARTIAL)
        assert part.headers["HX-Push-Url"] == address
        page = Elements(client.get(address).text)
        assert [field["value"] for field in page.all("input") if field.get("name") == "like"] == [
            address[-32:]
        ]
        assert "a.png" in page.texts
        gone = client.get("/?like=" + "0" * 32)
        assert (gone.status_code, "choose or drop it again" in gone.text) == (404, True)


@pytest.mark.parametrize("tag", [256, 282])
def test_an_image_with_broken_exif_data_is_refused(tag: int):
    """Pillow rotates it, writes the EXIF data again, and fails with struct.error or TypeError."""
    orientation = struct.pack("<HHII", 274, 3, 1, 6)
    broken = struct.pack("<HHI4s", tag, 2, 2, b"ab")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + broken + bytes(4)
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG", exif=exif)
    with pytest.raises(QueryError, match="cannot be read"):
        decode_image(content.getvalue())


def test_images_are_kept_as_long_as_there_is_room():
    contents = []
    for seed in range(3):
        content = io.BytesIO()
        make_image(seed).save(content, "PNG")
        contents.append(content.getvalue())
    images = QueryImages(max_bytes=sum(map(len, contents)) - 1)
    keys = [images.add(f"{n}.png", content) for n, content in enumerate(contents)]
    with pytest.raises(NotFound, match="no longer available"):
        images.get(keys[0])
    assert [images.get(key).content for key in keys[1:]] == contents[1:]
    with pytest.raises(QueryError, match="cannot be read"):
        images.add("a.png", b"no image")
    small = QueryImages(max_bytes=1)
    assert small.get(small.add("large.png", contents[0])).name == "large.png"


def test_the_form_offers_no_image_search_if_no_encoder_takes_images(client: TestClient):
    assert "by-image" not in client.get("/").text
    content = io.BytesIO()
    make_image(1).save(content, "PNG")
    response = client.post(
        "/by-image", files={"image": ("a.png", content.getvalue())}, headers={"Origin": HERE}
    )
    assert (response.status_code, "takes an image" in response.text) == (400, True)
