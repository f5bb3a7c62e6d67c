"""Encoders of tiny checkpoints that several tests ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from docrag.encode.base import PageEncoder
from docrag.encode.registry import page_encoder
from tests.checkpoints.reference import options


@pytest.fixture(scope="module")
def loaded(checkpoint: Callable[[str], str]) -> Callable[[str], PageEncoder]:
    """Gives the encoder of a family's tiny checkpoint, loaded once; tests leave it as it was."""
    return cache(lambda family: page_encoder(checkpoint(family), options()))
