"""ImageBind for docrag: find pages by a text, an image or a recording. README.md explains its licence."""

from imagebind_docrag.encoder import ImageBindEncoder

__all__ = ["ImageBindEncoder"]
