"""ImageBind for docrag: pages found by a text, an image or a recording; see README.md for its licence."""

from imagebind_docrag.encoder import ImageBindEncoder

__all__ = ["ImageBindEncoder"]
