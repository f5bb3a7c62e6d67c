"""Loads the default models while the rest of the process is still being imported.

A search that starts the process waits for both. One after the other takes half a second longer.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

from docrag.errors import DocragError
from docrag.location.names import FINGERPRINT

logger = logging.getLogger(__name__)

DEFAULT = "minilm"


def preload_default_models(folder: Path) -> None:
    """Load the query encoder of an index in a thread, if it is the default one.

    Others are large, and are loaded when somebody searches with them.
    """
    try:
        fingerprint = json.loads((folder / FINGERPRINT).read_text())
        families = {(fingerprint[kind] or {}).get("family") for kind in ("late", "text")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # whoever opens the index is told what is wrong with it
    if families == {DEFAULT}:
        threading.Thread(target=_load, name="preload", daemon=True).start()


def _load() -> None:
    from docrag.encode.models.minilm_model import load

    try:
        load(purpose="queries")
    except DocragError as error:  # raised again by the search
        logger.info("the models are not loaded beforehand: %s", error)
