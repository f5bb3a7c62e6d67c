"""The former home of EncoderOptions, which plug-ins may import from here; it is docrag.EncoderOptions."""

from docrag.encode.base import EncoderOptions

__all__ = ["EncoderOptions"]
