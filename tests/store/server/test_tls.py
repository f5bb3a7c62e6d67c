"""Encrypted connections: what is trusted works by REST and by gRPC, what is not is refused with advice."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from docrag.errors import ServerUnreachable, SettingsError
from docrag.location.resolve import locate
from docrag.settings import load_settings
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from docrag.store.server.wire import GrpcWire, JsonWire, Wire
from docrag.types import PageRecord
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant

HOST, KEY = "127.0.0.1", "secret-4711"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2097, 1, 1, tzinfo=UTC), datetime(2098, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


@pytest.fixture
def served(authority: trustme.CA) -> Iterator[tuple[FakeQdrant, FakeGrpc]]:
    """A server by both ways, with a certificate of the authority."""
    certificate = authority.issue_cert(HOST)
    pems = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    with (
        FakeQdrant(key=KEY, tls=context_of(certificate)) as fake,
        FakeGrpc(fake.db, tls=pems) as service,
    ):
        yield fake, service


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize(("by_grpc", "wire"), [(False, JsonWire), (True, GrpcWire)])
@pytest.mark.parametrize("how", ["setting", "variable"])
def test_what_is_trusted_works_by_both_ways(
    served: tuple[FakeQdrant, FakeGrpc],
    ca_file: str,
    layout: Layout,
    records: list[PageRecord],
    monkeypatch: pytest.MonkeyPatch,
    by_grpc: bool,
    wire: type[Wire],
    how: str,
):
    fake, service = served
    if how == "variable":
        monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    given = ca_file if how == "setting" else ""
    connection = connect(
        Address.parse(fake.uri), KEY, grpc_port=service.port, prefer_grpc=by_grpc, ca_file=given
    )
    assert connection.address.secure
    assert isinstance(connection.wire, wire)
    with ServerStore.create(connection, layout, Fingerprint({"layout": 1, "text": {}})) as store:
        store.upsert(records[:5])
        assert {record.id for record in store.scroll()} == {record.id for record in records[:5]}
    assert {sent.headers["api-key"] for sent in fake.requests} == {KEY}
    assert len(service.upserts) == by_grpc
    assert service.metadata.get("api-key") == (KEY if by_grpc else None)


def test_a_setting_says_whom_to_trust(
    served: tuple[FakeQdrant, FakeGrpc], ca_file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("DOCRAG_CA_FILE", ca_file)
    monkeypatch.setenv("DOCRAG_API_KEY", KEY)
    location = locate(load_settings(index=served[0].uri, files=str(tmp_path / "files")))
    assert location.fingerprint() is None
    location.close()


def refused(fake: FakeQdrant, ca_file: str = "", grpc_port: int | None = None) -> ServerUnreachable:
    """The error of a connection; nothing is tried twice, and no request with the key went out."""
    waits: list[float] = []
    address = Address.parse(fake.uri)
    with pytest.raises(ServerUnreachable) as caught:
        connect(address, KEY, ca_file=ca_file, grpc_port=grpc_port, sleep=waits.append)
    assert (waits, fake.requests) == ([], [])
    assert caught.value.message.startswith(address.url)
    assert KEY not in str(caught.value)
    return caught.value


def test_an_unknown_authority_is_not_trusted(served: tuple[FakeQdrant, FakeGrpc]):
    error = refused(served[0], grpc_port=served[1].port)
    assert "certificate is not trusted" in error.message
    assert "DOCRAG_CA_FILE" in error.hint
    assert "api-key" not in served[1].metadata


def test_another_authority_is_not_trusted(served: tuple[FakeQdrant, FakeGrpc], tmp_path: Path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    assert "DOCRAG_CA_FILE" in refused(served[0], str(other), served[1].port).hint


@pytest.mark.parametrize("name", ["qdrant.example", "127.0.0.2"])
def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, ca_file: str, name: str):
    with FakeQdrant(tls=context_of(authority.issue_cert(name))) as fake:
        error = refused(fake, ca_file)
    assert "not valid for '127.0.0.1'" in error.message
    assert "the name that the certificate was made for" in error.hint


@pytest.mark.parametrize(
    ("time", "reason"), [(LONG_AGO, "certificate has expired"), (FAR_AHEAD, "certificate is not yet valid")]
)
def test_a_certificate_of_another_time_is_refused(
    authority: trustme.CA, ca_file: str, time: tuple[datetime, datetime], reason: str
):
    certificate = authority.issue_cert(HOST, not_before=time[0], not_after=time[1])
    with FakeQdrant(tls=context_of(certificate)) as fake:
        error = refused(fake, ca_file)
    assert reason in error.message
    assert "renew" in error.hint


def test_a_server_that_speaks_plain_http_is_told_apart(ca_file: str):
    with FakeQdrant() as fake, pytest.raises(ServerUnreachable, match="no TLS there") as caught:
        connect(Address.parse(fake.uri.replace("http:", "https:")), KEY, ca_file=ca_file)
    assert "http://" in caught.value.hint


def test_an_address_without_https_says_to_look_at_it(served: tuple[FakeQdrant, FakeGrpc]):
    address = Address.parse(served[0].uri.replace("https:", "http:"))
    with pytest.raises(ServerUnreachable) as caught:
        connect(address, sleep=lambda _: None)
    assert "http or https" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot read .*: No such file"), ("no certificate", "holds no certificate")],
)
def test_a_file_without_certificates_is_an_error_of_settings(
    tmp_path: Path, content: str | None, reason: str
):
    file = tmp_path / "authority.pem"
    if content:
        file.write_text(content)
    with pytest.raises(SettingsError, match=reason) as caught:
        connect(Address.parse("https://localhost/reports"), ca_file=str(file))
    assert "DOCRAG_CA_FILE" in caught.value.hint
