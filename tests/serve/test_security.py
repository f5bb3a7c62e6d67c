"""Access control: keys, host names and other sites."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.errors import StoreError
from docrag.serve.app import create_app
from docrag.serve.security import COOKIE
from docrag.serve.settings import ServeSettings
from docrag.store.images import PageImages
from tests.serve.conftest import HERE, KEY

SEARCH = {"query": "water", "k": 1}
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def keyed(demo_index: Index) -> TestClient:
    """A client of a server with a key, which other machines can reach."""
    app = create_app(demo_index, ServeSettings(host="0.0.0.0", api_key=KEY, allowed_hosts=("docs.example",)))
    return TestClient(app, base_url=HERE, follow_redirects=False)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.7",
        "",
        "[",
        "a b",
        "@",
        "1",
        "127.0.0.1/healthz?",
        "127.0.0.1:8000/static/",
        "evil@127.0.0.1",
        "127.0.0.1#",
    ],
)
def test_another_host_name_is_refused_against_dns_rebinding(client: TestClient, host: str):
    response = client.post("/v1/search", json=SEARCH, headers={"Host": host})
    assert response.status_code == 421
    assert "--allow-host" in response.json()["error"]["hint"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.9.9.9"])
def test_names_of_this_machine_are_accepted(client: TestClient, host: str):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_server_that_others_reach_accepts_its_configured_names(keyed: TestClient):
    for host, status in (("docs.example", 200), ("192.168.1.7:8000", 200), ("evil.example", 421)):
        assert keyed.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_requests_from_pages_of_other_sites_are_refused(client: TestClient, headers: dict[str, str]):
    assert client.post("/v1/search", json=SEARCH, headers=headers).status_code == 403
    assert client.delete(f"/v1/documents/{'ab' * 32}", headers=headers).status_code == 403


def test_our_own_page_and_programs_are_accepted(client: TestClient):
    own = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/search", json=SEARCH, headers=own).status_code == 200
    assert client.post("/v1/search", json=SEARCH).status_code == 200


def test_another_site_may_only_link_here_and_embed_page_images(client: TestClient, demo_index: Index):
    other_site = {"Sec-Fetch-Site": "cross-site"}
    image_url = demo_index.search("water", k=1)[0].image_url.removeprefix(HERE)
    response = client.get(image_url, headers=other_site)
    assert (response.status_code, response.headers["cross-origin-resource-policy"]) == (200, "cross-origin")
    assert client.get("/", headers={**other_site, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/v1/documents", headers=other_site).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/search"),
        ("GET", "/v1/documents"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/"),
        ("GET", f"/pages/{'ab' * 32}/1.jpg"),
        ("GET", "/v1/nothing"),
        ("POST", "/logout"),
        ("GET", "//healthz"),
        ("GET", "/healthz/"),
        ("GET", "/static/../v1/documents"),
        ("GET", "/static/%2e%2e/v1/documents"),
    ],
)
@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ключ"},
        {"Authorization": f"Basic {KEY}"},
        {"Cookie": f"{COOKIE}=wrong"},
        {"Host": "127.0.0.1/healthz?"},
        {"Host": "127.0.0.1:8000/static/x?"},
        {"Cookie": f"{COOKIE}={KEY}"},
    ],
)
def test_nothing_is_returned_without_the_key(keyed: TestClient, method: str, path: str, credentials: dict):
    headers = {name: value.encode() for name, value in credentials.items()}
    response = keyed.request(method, path, json=SEARCH if method == "POST" else None, headers=headers)
    assert response.status_code in (401, 404, 421)  # there is no such file below /static/
    assert "documents" not in response.json()


def test_the_key_opens_everything(keyed: TestClient):
    assert keyed.post("/v1/search", json=SEARCH, headers=BEARER).json()["hits"]
    assert keyed.get("/metrics", headers=BEARER).text.startswith("# HELP")
    assert keyed.get("/healthz").status_code == 200


def test_a_browser_logs_in_with_a_form(keyed: TestClient):
    redirect = keyed.get("/", headers={"Accept": "text/html,*/*"})
    assert (redirect.status_code, redirect.headers["location"]) == (303, "/login")
    form = keyed.get("/login")
    assert 'type="password"' in form.text
    assert "script" not in form.text
    wrong = keyed.post("/login", data={"key": "wrong"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = keyed.post("/login", data={"key": KEY})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert KEY not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert keyed.get("/v1/documents").status_code == 200  # with the cookie
    assert "Max-Age=0" in keyed.post("/logout").headers["set-cookie"]
    assert keyed.get("/v1/documents").status_code == 401
    assert keyed.get("/", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"


def test_a_login_from_another_site_is_refused(keyed: TestClient):
    assert (
        keyed.post("/login", data={"key": KEY}, headers={"Origin": "http://evil.example"}).status_code == 403
    )


def test_every_response_has_the_security_headers(client: TestClient, keyed: TestClient):
    responses = [
        client.get("/"),
        client.get("/v1/nothing"),
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.post("/v1/search", content=b"{"),
        keyed.get("/v1/documents"),
        keyed.get("/login"),
    ]
    for response in responses:
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "server" not in response.headers


TRAVERSALS = [
    "../" * 8 + "etc/passwd",
    "..%2f" * 8 + "etc%2fpasswd",
    "%2e%2e/" * 8 + "etc/passwd",
    "%252e%252e%252f" * 8 + "etc%252fpasswd",
    "....//" * 8 + "etc/passwd",
    "..\\" * 8 + "etc\\passwd",
    "/etc/passwd",
    "//etc/passwd",
    "%00/etc/passwd",
    "file:///etc/passwd",
    "..%c0%af" * 8 + "etc/passwd",
]
PATHS = [
    "/pages/{}",
    "/pages/{}/1.jpg",
    "/pages/" + "ab" * 32 + "/{}",
    "/pages/" + "ab" * 32 + "/{}.jpg",
    "/v1/pages/{}",
    "/v1/pages/{}/heatmap?q=x",
    "/v1/pages/{}/heatmap/0.png?q=x",
    "/v1/ingest/{}",
    "/v1/ingest/{}/events",
    "/v1/documents/{}",
    "/static/{}",
    "/page/{}",
    "/documents/{}.pdf",
    "/documents/{}",
    "/{}",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out_of_the_index(client: TestClient, path: str):
    secret = Path("/etc/passwd").read_bytes()[:20]
    for traversal in TRAVERSALS:
        for method in ("GET", "DELETE"):
            response = client.request(method, path.replace("{}", traversal))
            assert 300 <= response.status_code < 500, (method, path, traversal)
            assert secret not in response.content
            assert b"Traceback" not in response.content


def test_a_payload_cannot_name_a_file_outside_the_index():
    """Someone who can write to a shared Qdrant server must not make docrag read other files."""
    with pytest.raises(StoreError):
        PageImages(Path("/tmp")).path("../../etc", 1)
