"""Addresses of page images: what makes them can be read from them, also where names look like paths."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from docrag.store.page_address import PageAddresses, plain_image

DOCUMENT = "ab" * 32
BASES = (
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "https://pages.example/docrag",
    "http://x/pages",
    "http://x/pages/a",
)
NAMES = ("reports", "pages", "reports--1", "my index", "50% höher?", "a.jpg")


@pytest.mark.parametrize("base_url", BASES)
@pytest.mark.parametrize("name", NAMES)
def test_an_address_says_what_made_it(base_url: str, name: str):
    addresses = PageAddresses(base_url, name)
    address = addresses.of(DOCUMENT, 12)
    assert PageAddresses.read(address) == addresses
    assert urlsplit(address).path.endswith(f"/{DOCUMENT}/12.jpg")
    assert " " not in address
    assert plain_image(address) + "?card=1" == address


@pytest.mark.parametrize("base_url", BASES)
def test_an_address_of_an_older_docrag_names_no_index(base_url: str):
    address = f"{base_url}/pages/{DOCUMENT}/12.jpg"
    assert PageAddresses.read(address) == PageAddresses(base_url)
    assert PageAddresses(base_url).of(DOCUMENT, 12) == plain_image(address) == address


@pytest.mark.parametrize(
    "other", ["", "http://x/logo.jpg", "http://x/pages/12.jpg", "http://x/pages/a/b.jpg", "x"]
)
def test_any_other_address_is_not_taken_for_one(other: str):
    assert PageAddresses.read(other) is None
    assert plain_image(other) == other
