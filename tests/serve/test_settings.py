"""Settings of a server."""

from __future__ import annotations

import pytest

from docrag import Index
from docrag.errors import SettingsError
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.serve.conftest import KEY


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_address_that_others_reach_needs_a_key(host: str):
    with pytest.raises(SettingsError, match="others could read all documents"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, api_key=KEY).api_key == KEY
    with pytest.raises(SettingsError, match="shorter than 16"):
        ServeSettings(host=host, api_key="short")


def test_uploads_need_a_folder(demo_index: Index):
    with pytest.raises(SettingsError, match="no folder for uploads"):
        ServeSettings(allow_ingest=True)
    assert create_app(demo_index).state.jobs is None
