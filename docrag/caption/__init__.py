"""Captions: a line of text that says what a page is about, for every page that is indexed.

`base` holds the protocol of a captioner, `text_layer` makes captions from a page's own text, `vision` asks a
vision model, `cache` keeps that model's answers, and `title` names the document.
"""

from docrag.caption.base import Caption, Captioner
from docrag.caption.text_layer import NoCaptioner, TextLayerCaptioner
from docrag.caption.title import title_of

__all__ = ["Caption", "Captioner", "NoCaptioner", "TextLayerCaptioner", "title_of"]
