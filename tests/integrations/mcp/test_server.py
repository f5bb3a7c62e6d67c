"""The MCP server, called by the SDK's own client in this process."""

from __future__ import annotations

import base64
import json
import logging
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docrag import Index
from docrag.errors import DocumentError
from docrag.types import IndexedDocument, IndexedPage, page_id

pytest.importorskip("mcp_types", reason="the MCP SDK is not installed")

from mcp import Client, MCPError
from mcp_docrag import make_server
from mcp_docrag.images import MAX_JPEG_BYTES, PAGE_SIDE, PAGES_WITH_IMAGES, THUMBNAIL_SIDE, to_jpeg
from mcp_docrag.schemas import EXCERPT_LENGTH, ListDocumentsAnswer, cut_with_note
from mcp_docrag.tools import TOOLS

CATERING = "How much did the ferry company earn from catering in 2023?"
UNKNOWN = page_id("ab" * 32, 1)
opened_paths: list[str] | None = None
"""The paths that this process opens, while a test records them; an audit hook cannot be removed."""


def record_opened_path(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and opened_paths is not None:
        opened_paths.append(str(arguments[0]))


sys.addaudithook(record_opened_path)


async def call(index: Index, tool: str, protocol: str = "auto", **arguments: object):
    async with Client(make_server(index), mode=protocol) as client:
        return await client.call_tool(tool, arguments)


def texts(result) -> list[str]:
    return [block.text for block in result.content if block.type == "text"]


def images(result) -> list[tuple[Image.Image, int]]:
    """The images of an answer, each with its size in bytes."""
    blobs = [base64.b64decode(block.data) for block in result.content if block.type == "image"]
    return [(Image.open(BytesIO(blob)), len(blob)) for blob in blobs]


async def test_tools_are_described_as_read_only(demo_index):
    async with Client(make_server(demo_index)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.server_info.name == "docrag"
        assert "search_pages" in client.instructions
    assert list(tools) == ["search_pages", "get_page", "list_documents"]
    for tool in tools.values():
        hints = tool.annotations
        assert (hints.read_only_hint, hints.idempotent_hint, hints.open_world_hint) == (True, True, False)
        assert tool.input_schema["additionalProperties"] is False
        assert all(schema["description"] for schema in tool.input_schema["properties"].values())
        assert tool.output_schema["type"] == "object"
    assert tools["search_pages"].input_schema["properties"]["k"]["maximum"] == 20


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_a_search_returns_text_data_and_links(demo_index, protocol):
    result = await call(demo_index, "search_pages", protocol, query=CATERING, k=3)
    hits = demo_index.search(CATERING, k=3)
    assert not result.is_error
    data = result.structured_content
    assert [page["page_id"] for page in data["hits"]] == [hit.page_id for hit in hits]
    best = data["hits"][0]
    assert (Path(best["file"]).name, best["page"]) == ("skerry_lines_annual_report_2023.pdf", 3)
    assert "24.6" in best["text"]
    assert len(best["text"]) <= EXCERPT_LENGTH + 8
    assert best["regions"][0]["box"] == pytest.approx(hits[0].regions[0].box, abs=1e-4)
    assert best["score"] == pytest.approx(hits[0].score, abs=1e-4)
    first = texts(result)[0]
    assert "skerry_lines_annual_report_2023.pdf, page 3 of 5" in first
    assert f"page_id: {best['page_id']}" in first
    assert "24.6" in first
    links = [block.uri for block in result.content if block.type == "resource_link"]
    assert links == [f"docrag://page/{hit.page_id}" for hit in hits] == [page["uri"] for page in data["hits"]]
    assert [block.type for block in result.content] == ["text", "resource_link"] * 3


@pytest.mark.parametrize(
    ("detail", "max_side", "max_images"),
    [("thumbnail", THUMBNAIL_SIDE, 6), ("regions", PAGE_SIDE, 6), ("page", PAGE_SIDE, 3)],
)
async def test_images_are_sent_with_the_best_pages_and_are_limited(demo_index, detail, max_side, max_images):
    result = await call(demo_index, "search_pages", query=CATERING, k=10, images=detail)
    sent = images(result)
    assert 0 < len(sent) <= max_images
    for image, size in sent:
        assert max(image.size) <= max_side
        assert size <= MAX_JPEG_BYTES
    kinds = " ".join(block.type for block in result.content).split("resource_link")
    assert [("image" in kind) for kind in kinds[:10]] == [
        rank < PAGES_WITH_IMAGES[detail] for rank in range(10)
    ]


async def test_crops_are_smaller_than_their_page(demo_index):
    hit = demo_index.search(CATERING, k=1)[0]
    crops = images(await call(demo_index, "search_pages", query=CATERING, k=1, images="regions"))
    width, height = hit.image().size
    assert 1 <= len(crops) <= 2
    assert sum(crop.width * crop.height for crop, _ in crops) < 0.6 * width * height


async def test_a_filter_and_a_mode_reach_the_index(demo_index):
    file = "tarn12_manual.pdf"
    for filter in ({"file_name": file}, json.dumps({"file_name": file}), {"file_name": [file, "other.pdf"]}):
        result = await call(demo_index, "search_pages", query=CATERING, mode="late", filter=filter)
        assert {Path(hit["file"]).name for hit in result.structured_content["hits"]} == {file}
    unfiltered = await call(demo_index, "search_pages", query=CATERING, filter=None)
    assert len(unfiltered.structured_content["hits"]) == 5
    result = await call(demo_index, "search_pages", query=CATERING, filter={"file_name": "no.pdf"})
    assert result.structured_content["hits"] == []
    assert "no page found" in texts(result)[0]


async def test_a_page_as_text_image_and_regions(demo_index):
    hit = demo_index.search(CATERING, k=1)[0]
    async with Client(make_server(demo_index)) as client:
        arguments = {"page_id": hit.page_id}
        text = await client.call_tool("get_page", arguments)
        whole = await client.call_tool("get_page", arguments | {"detail": "image"})
        parts = await client.call_tool("get_page", arguments | {"detail": "regions", "query": CATERING})
    assert texts(text)[1] == hit.text
    assert text.structured_content["characters"] == len(hit.text)
    ((page, _),) = images(whole)
    assert page.size == hit.image().size
    difference = np.asarray(page, float) - np.asarray(hit.image().convert("RGB"), float)
    assert np.abs(difference).mean() < 3
    crops = images(parts)
    assert 1 <= len(crops) <= 2
    assert max(crop.height for crop, _ in crops) < page.height / 2


async def test_an_unknown_tool_is_a_protocol_error(demo_index):
    async with Client(make_server(demo_index)) as client:
        with pytest.raises(MCPError, match="there are search_pages, get_page, list_documents"):
            await client.call_tool("read_file", {"path": "/etc/passwd"})


async def test_documents_are_listed(demo_index):
    result = await call(demo_index, "list_documents")
    documents = result.structured_content["documents"]
    assert result.structured_content["total"] == len(documents) == 5
    manual = next(document for document in documents if document["file_name"] == "tarn12_manual.pdf")
    assert manual["pages"] == 4
    assert f"{manual['file']} (4 pages): tarn12 manual" in texts(result)[0]
    beyond = await call(demo_index, "list_documents", offset=10**6)
    assert beyond.structured_content["documents"] == []


def test_many_documents_are_listed_in_parts():
    documents = [IndexedDocument(f"{i:064}", (f"{i:03}.pdf",), "", 1, 1) for i in range(450)]
    first = ListDocumentsAnswer.of(documents, 0, 200)
    last = ListDocumentsAnswer.of(documents, 400, 200)
    assert (len(first.documents), first.next_offset, first.total) == (200, 200, 450)
    assert (len(last.documents), last.next_offset) == (50, None)


async def test_a_page_is_a_resource(demo_index):
    hit = demo_index.search(CATERING, k=1)[0]
    async with Client(make_server(demo_index)) as client:
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "docrag://page/{page_id}"
        assert (await client.list_resources()).resources == []
        text, image = (await client.read_resource(f"docrag://page/{hit.page_id}")).contents
        assert (text.mime_type, text.text) == ("text/plain", hit.text)
        assert image.mime_type == "image/jpeg"
        assert Image.open(BytesIO(base64.b64decode(image.blob))).size == hit.image().size
        for uri in ("file:///etc/passwd", "docrag://page/../../etc/passwd", "docrag://page/", hit.page_id):
            with pytest.raises(MCPError, match="no such resource"):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match=UNKNOWN):
            await client.read_resource(f"docrag://page/{UNKNOWN}")


async def test_paths_chosen_by_a_model_are_never_opened(demo_index, tmp_path):
    global opened_paths
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    opened_paths = []
    try:
        async with Client(make_server(demo_index)) as client:
            for tool_name, tool in TOOLS.items():
                for name in tool.arguments.model_fields:
                    for path in (str(secret), f"file://{secret}", {"source": str(secret)}):
                        arguments = {"query": "x", "page_id": UNKNOWN, name: path}
                        known = {
                            key: arguments[key] for key in arguments if key in tool.arguments.model_fields
                        }
                        result = await client.call_tool(tool_name, known)
                        assert "secret" not in " ".join(texts(result)).replace(str(secret), "")
            for uri in (f"docrag://page/{secret}", f"file://{secret}"):
                with pytest.raises(MCPError):
                    await client.read_resource(uri)
        secret.read_text()  # proves that opened paths are recorded
        assert opened_paths.count(str(secret)) == 1
    finally:
        opened_paths = None


async def test_a_missing_image_is_reported_and_the_text_is_still_sent(demo_index, monkeypatch):
    best = demo_index.search(CATERING, k=1)[0]

    def raise_missing(page):
        raise DocumentError(f"no image of page {page.page}", "ingest the file again")

    monkeypatch.setattr(IndexedPage, "image", raise_missing)
    search = await call(demo_index, "search_pages", query=CATERING, k=2, images="page")
    assert not search.is_error
    assert texts(search)[1] == "no image of page 3 (ingest the file again)"
    page = await call(demo_index, "get_page", page_id=best.page_id, detail="image")
    assert page.is_error
    assert texts(page) == ["error: no image of page 3\nhint: ingest the file again"]
    async with Client(make_server(demo_index)) as client:
        assert len((await client.read_resource(f"docrag://page/{best.page_id}")).contents) == 1


@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_an_unexpected_exception_is_logged_and_not_sent(demo_index, monkeypatch, caplog, protocol):
    def fail(*arguments, **named):
        raise RuntimeError("inside")

    monkeypatch.setattr(Index, "search", fail)
    monkeypatch.setattr(Index, "page", fail)
    message = "docrag failed; the server's log says why"
    with caplog.at_level(logging.ERROR):
        async with Client(make_server(demo_index), mode=protocol) as client:
            result = await client.call_tool("search_pages", {"query": "x"})
            with pytest.raises(MCPError, match=message):
                await client.read_resource(f"docrag://page/{UNKNOWN}")
    assert result.is_error
    assert texts(result) == [f"error: {message}"]
    assert caplog.text.count("RuntimeError: inside") == 2


async def test_a_damaged_image_is_reported(demo_index, monkeypatch, tmp_path):
    best = demo_index.search(CATERING, k=1)[0]
    broken = tmp_path / "1.jpg"
    broken.write_bytes(best.image_path.read_bytes()[:2000])
    monkeypatch.setattr("docrag.store.payload.image_file", lambda *arguments: broken)
    page = await call(demo_index, "get_page", page_id=best.page_id, detail="image")
    (text,) = texts(page)
    assert text.endswith("page 3 is broken\nhint: docrag ingest --again repairs it")
    search = await call(demo_index, "search_pages", query=CATERING, k=1, images="thumbnail")
    assert "page 3 is broken" in texts(search)[1]


async def test_a_failed_call_is_logged_without_its_query(demo_index, caplog):
    with caplog.at_level(logging.INFO, "mcp_docrag"):
        await call(demo_index, "search_pages", query="secret words", filter={"a b": 1})
        await call(demo_index, "search_pages", query="secret words", k=0)
    assert "search_pages failed: QueryError" in caplog.messages
    assert "search_pages was refused: 1 invalid arguments" in caplog.messages
    assert "secret words" not in caplog.text


def test_long_texts_are_cut_with_a_note():
    assert cut_with_note("x" * 30_000, 20_000) == "x" * 20_000 + "\n[10000 more characters are not shown]"


def test_large_images_are_scaled_down():
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000, 3), np.uint8)
    data = to_jpeg(Image.fromarray(noise))
    assert len(data) <= MAX_JPEG_BYTES
    assert max(Image.open(BytesIO(data)).size) == PAGE_SIDE
    assert Image.open(BytesIO(to_jpeg(Image.new("L", (30, 20))))).size == (30, 20)
