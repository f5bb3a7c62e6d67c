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
from docrag.serve.query_images import Pictures, open_picture
from tests.samples import make_image
from tests.serve.conftest import HERE
from tests.serve.elements import HOSTILE, PARTS, Elements


def test_images_are_searched_by_where_an_encoder_sees(tmp_path: Path, checkpoint):
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
        told = client.post("/by-image", files=broken, headers={**PARTS, "Origin": HERE})
        assert (told.status_code, "the image cannot be read" in told.text) == (400, True)
        assert client.post("/by-image", data={"q": "a"}, headers={"Origin": HERE}).status_code == 400


def test_the_address_of_a_search_by_an_image_holds_as_long_as_it_is_kept(tmp_path: Path, checkpoint):
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest(demo.documents() / "tarn12_manual.pdf")
        client = TestClient(create_app(index), base_url=HERE, follow_redirects=False)
        content = io.BytesIO()
        make_image(1).save(content, "PNG")
        sent = {"image": ("a.png", content.getvalue(), "image/png")}
        answer = client.post(
            "/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers={"Origin": HERE}
        )
        address = answer.headers["Location"]
        assert (answer.status_code, address.partition("&like=")[0]) == (303, "/?q=a+lamp&k=5")
        part = client.post("/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers=PARTS)
        assert part.headers["HX-Push-Url"] == address
        page = Elements(client.get(address).text)
        assert [one["value"] for one in page.all("input") if one.get("name") == "like"] == [address[-32:]]
        assert "a.png" in page.texts
        gone = client.get("/?like=" + "0" * 32)
        assert (gone.status_code, "choose or drop it again" in gone.text) == (404, True)


@pytest.mark.parametrize("tag", [256, 282])
def test_a_picture_with_broken_notes_is_refused(tag: int):
    """Pillow turns it, writes the notes anew, and fails with struct.error or TypeError."""
    turned, words = struct.pack("<HHII", 274, 3, 1, 6), struct.pack("<HHI4s", tag, 2, 2, b"ab")
    notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + words + bytes(4)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=notes)
    with pytest.raises(QueryError, match="cannot be read"):
        open_picture(out.getvalue())


def test_pictures_are_kept_as_long_as_there_is_room():
    contents = []
    for seed in range(3):
        out = io.BytesIO()
        make_image(seed).save(out, "PNG")
        contents.append(out.getvalue())
    pictures = Pictures(most=len(contents[0]) + len(contents[1]) + len(contents[2]) - 1)
    keys = [pictures.keep(f"{n}.png", content) for n, content in enumerate(contents)]
    with pytest.raises(NotFound, match="no longer kept"):
        pictures.get(keys[0])
    assert [pictures.get(key).content for key in keys[1:]] == contents[1:]
    with pytest.raises(QueryError, match="cannot be read"):
        pictures.keep("a.png", b"no image")
    alone = Pictures(most=1)
    assert alone.get(alone.keep("large.png", contents[0])).name == "large.png"


def test_no_image_is_asked_for_where_no_encoder_sees(client: TestClient):
    assert "by-image" not in client.get("/").text
    content = io.BytesIO()
    make_image(1).save(content, "PNG")
    told = client.post("/by-image", files={"image": ("a.png", content.getvalue())}, headers={"Origin": HERE})
    assert (told.status_code, "no encoder that takes an image" in told.text) == (400, True)
