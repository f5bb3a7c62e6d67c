"""ImageBind's own code, without the parts that read videos."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.errors import ModelUnavailable

VOCABULARY = "bpe/bpe_simple_vocab_16e6.txt.gz"


@dataclass(frozen=True, slots=True)
class Library:
    """What is used of the library."""

    model_class: Any
    """ImageBindModel."""
    tokenizer: Any
    """(text) -> (77,) token ids, a longer text cut."""


@cache
def load_library() -> Library:
    """Import the model and the tokenizer.

    `import imagebind` itself imports imagebind.data, and with it pkg_resources, which setuptools has no more,
    pytorchvideo, which fails with torchvision >= 0.17, and torchaudio, which must match torch. So its modules
    are imported past its `__init__`, which is left for others to run.

    Raises:
        ModelUnavailable: The library, or one that it imports, cannot be imported.
    """
    mend_torchvision()  # timm imports it
    found = find_spec("imagebind")
    if found is None or not found.submodule_search_locations:
        raise ModelUnavailable("imagebind is not installed", "see imagebind_docrag/README.md")
    past_init = "imagebind" not in sys.modules
    if past_init:
        sys.modules["imagebind"] = module_from_spec(found)
    try:
        model = import_module("imagebind.models.imagebind_model")
        preprocessors = import_module("imagebind.models.multimodal_preprocessors")
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelUnavailable(
            f"imagebind cannot be imported: {error}", "see imagebind_docrag/README.md for what it needs"
        ) from error
    finally:
        if past_init:
            del sys.modules["imagebind"]
    vocabulary = Path(found.submodule_search_locations[0]) / VOCABULARY
    return Library(model.ImageBindModel, preprocessors.SimpleTokenizer(bpe_path=str(vocabulary)))
