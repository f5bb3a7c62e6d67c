from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app


def test_a_picture_is_served_where_the_payload_says(demo_index: Index):
    hit = demo_index.search("What do four red flashes mean?", k=1)[0]
    client = TestClient(create_app(demo_index))
    path = hit.image_url.removeprefix("http://127.0.0.1:8000")
    whole = client.get(path)
    assert whole.content == hit.image_path.read_bytes()
    assert whole.headers["content-type"] == "image/jpeg"
