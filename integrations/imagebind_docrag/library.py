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
class ImageBindLibrary:
    """The parts of the library that docrag uses."""

    model_class: Any
    """The class ImageBindModel."""
    tokenizer: Any
    """Called with a text, it returns (77,) token ids; a longer text is truncated."""


@cache
def load_library() -> ImageBindLibrary:
    """Import the model and the tokenizer.

    `import imagebind` imports imagebind.data, and with it pkg_resources, which setuptools no longer contains,
    pytorchvideo, which fails with torchvision >= 0.17, and torchaudio, which must match torch. So the modules
    are imported without running the package's `__init__`, and a later `import imagebind` still runs it.

    Raises:
        ModelUnavailable: The library, or a package that it imports, cannot be imported.
    """
    mend_torchvision()  # timm imports torchvision
    spec = find_spec("imagebind")
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable("imagebind is not installed", "see imagebind_docrag/README.md")
    skip_init = "imagebind" not in sys.modules
    if skip_init:
        sys.modules["imagebind"] = module_from_spec(spec)
    try:
        model = import_module("imagebind.models.imagebind_model")
        preprocessors = import_module("imagebind.models.multimodal_preprocessors")
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelUnavailable(
            f"imagebind cannot be imported: {error}", "see imagebind_docrag/README.md for what it needs"
        ) from error
    finally:
        if skip_init:
            del sys.modules["imagebind"]
    vocabulary = Path(spec.submodule_search_locations[0]) / VOCABULARY
    return ImageBindLibrary(model.ImageBindModel, preprocessors.SimpleTokenizer(bpe_path=str(vocabulary)))
