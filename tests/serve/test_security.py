import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.errors import SettingsError
from docrag.serve.app import create_app
from docrag.serve.security import COOKIE
from docrag.serve.settings import ServeSettings
from tests.serve.conftest import HERE, KEY

SEARCH = {"query": "water", "k": 1}
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def keyed(demo_index: Index) -> TestClient:
    """Asks a server with a key that others can reach."""
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
def test_another_name_is_refused_lest_a_page_makes_its_own_lead_here(client: TestClient, host: str):
    answer = client.post("/v1/search", json=SEARCH, headers={"Host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["error"]["hint"]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000", "127.9.9.9"])
def test_this_machines_names_are_taken(client: TestClient, host: str):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_server_that_others_reach_knows_the_names_that_it_was_given(keyed: TestClient):
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
def test_what_another_sites_page_sends_is_refused(client: TestClient, headers: dict[str, str]):
    assert client.post("/v1/search", json=SEARCH, headers=headers).status_code == 403
    assert client.delete(f"/v1/documents/{'ab' * 32}", headers=headers).status_code == 403


def test_our_own_page_and_programs_may_ask(client: TestClient):
    own = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/search", json=SEARCH, headers=own).status_code == 200
    assert client.post("/v1/search", json=SEARCH).status_code == 200


def test_another_site_may_link_here_and_show_pictures_and_nothing_else(client: TestClient, demo_index: Index):
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    picture = demo_index.search("water", k=1)[0].image_url.removeprefix(HERE)
    answer = client.get(picture, headers=elsewhere)
    assert (answer.status_code, answer.headers["cross-origin-resource-policy"]) == (200, "cross-origin")
    assert client.get("/", headers={**elsewhere, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/v1/documents", headers=elsewhere).status_code == 403


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
    "given",
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
def test_without_the_key_nothing_is_answered(keyed: TestClient, method: str, path: str, given: dict):
    headers = {name: value.encode() for name, value in given.items()}
    answer = keyed.request(method, path, json=SEARCH if method == "POST" else None, headers=headers)
    assert answer.status_code in (401, 404, 421)  # a path below /static/ is one of no file
    assert "documents" not in answer.json()


def test_with_the_key_all_is_answered(keyed: TestClient):
    assert keyed.post("/v1/search", json=SEARCH, headers=BEARER).json()["hits"]
    assert keyed.get("/metrics", headers=BEARER).text.startswith("# HELP")
    assert keyed.get("/healthz").status_code == 200


def test_a_browser_gives_the_key_in_a_form(keyed: TestClient):
    asked = keyed.get("/", headers={"Accept": "text/html,*/*"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login")
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


def test_the_login_of_another_site_is_refused(keyed: TestClient):
    assert (
        keyed.post("/login", data={"key": KEY}, headers={"Origin": "http://evil.example"}).status_code == 403
    )


def test_every_answer_says_what_browsers_may_do(client: TestClient, keyed: TestClient):
    answers = [
        client.get("/"),
        client.get("/v1/nothing"),
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.post("/v1/search", content=b"{"),
        keyed.get("/v1/documents"),
        keyed.get("/login"),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers


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
PLACES = [
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


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_out_of_the_index(client: TestClient, place: str):
    root = Path("/etc/passwd").read_bytes()[:20]
    for bad in TRAVERSALS:
        for method in ("GET", "DELETE"):
            answer = client.request(method, place.replace("{}", bad))
            assert 300 <= answer.status_code < 500, (method, place, bad)
            assert root not in answer.content
            assert b"Traceback" not in answer.content


def test_a_page_whose_payload_leads_elsewhere_shows_nothing(client: TestClient):
    """Whoever writes into a shared Qdrant server must not make docrag read other files."""
    from docrag.errors import StoreError
    from docrag.store.images import PageImages

    with pytest.raises(StoreError):
        PageImages(Path("/tmp")).path("../../etc", 1)
