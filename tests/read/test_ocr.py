import os
import re
import socket
import subprocess
import sys

import numpy as np
import pymupdf
import pytest
from PIL import Image

from docrag.read.ocr import Line, OcrReader, decide_ocr, lay_out_lines, split_line
from docrag.read.pdf import PdfSource
from docrag.read.source import TextLayer
from docrag.types import Word


@pytest.mark.parametrize(
    ("words", "share", "ocr"),
    [
        (0, 0.0, True),
        (9, 0.25, True),
        (9, 0.24, False),
        (10, 0.89, False),
        (39, 0.9, True),
        (40, 1.0, False),
    ],
)
def test_few_words_beside_large_pictures_call_for_ocr(words: int, share: float, ocr: bool):
    word = Word("word", (0, 0, 1, 1), 0)
    picture = Image.linear_gradient("L").convert("RGB")
    layer = TextLayer("1", 500, 800, (word,) * words, (), share)
    expected = f"it has {words} words, and pictures cover {share:.0%} of it"
    assert decide_ocr(layer, picture, enabled=True) == (ocr, expected)


def upright(text: str, x0: float, y0: float, x1: float, y1: float) -> Line:
    return Line(text, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32))


def test_words_share_their_line_by_letters():
    words = list(split_line(upright("ab cdef", 0, 10, 70, 20), 3, 0))
    assert [word.text for word in words] == ["ab", "cdef"]
    assert [word.box for word in words] == [(0, 10, 20, 20), (30, 10, 70, 20)]
    assert {word.block for word in words} == {3}


def test_boxes_of_a_slanted_line_follow_it():
    line = Line("ab cd", np.array([[0, 0], [100, 10], [100, 30], [0, 20]], dtype=np.float32))
    first, second = split_line(line, 0, 0)
    assert first.box[1] < second.box[1]
    assert second.box == pytest.approx((60.0, 6.0, 100.0, 30.0))


def test_lines_are_laid_out_column_by_column():
    lines = [
        upright(f"{side}{n}", x, 20 * n, x + 200, 20 * n + 14)
        for n in range(6)
        for side, x in (("l", 0), ("r", 250))
    ]
    words, blocks = lay_out_lines(lines, 500, 200)
    assert [word.text for word in words] == [f"{side}{n}" for side in "lr" for n in range(6)]
    assert len(blocks) == 2


@pytest.fixture(scope="module")
def reader():
    return OcrReader()


def test_a_picture_of_text_is_read_without_network(make_pdf, reader, monkeypatch, capfd):
    def refuse(*_):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = make_pdf(lambda page: page.insert_text((60, 100), "Revenue grew by 12 percent", fontsize=18))
    source = PdfSource(path)
    words, blocks = OcrReader().words(source.picture(1, 1600, 4_000_000))
    assert [word.text for word in words] == ["Revenue", "grew", "by", "12", "percent"]
    assert len(blocks) == 1
    for read, printed in zip(words, source.text_layer(1).words, strict=True):
        assert np.abs(np.array(read.box) - printed.box).max() < 0.03
    assert capfd.readouterr() == ("", "")


def test_a_blank_picture_has_no_words(reader):
    assert reader.words(Image.new("RGB", (400, 600), "white")) == ((), ())


@pytest.mark.slow
def test_onnxruntime_keeps_no_device_id_and_no_queue_of_what_to_send(tmp_path):
    script = """if True:
        import time
        from docrag.demo import documents
        from docrag.read.ocr import OcrReader
        from docrag.read.pdf import PdfSource  # PyMuPDF loads onnxruntime too
        OcrReader().words(PdfSource(documents() / "scan_20240212.pdf").picture(1, 400, 10**6))
        time.sleep(1)  # it is written by another thread
    """
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_a_real_scan_is_read(real, reader):
    name, number = "ULTABEAUTY_2023Q4_EARNINGS.pdf", 1
    printed = PdfSource(real(f"dev/pdfs/{name}")).text_layer(number).words
    scan = PdfSource(real(f"scanned/pdfs/scan_{name}"))
    assert not scan.text_layer(number).words
    words, _ = reader.words(scan.picture(number, 1600, 4_000_000))
    wanted, found = (
        {part for word in page for part in re.findall(r"\w+", word.text.lower())} for page in (printed, words)
    )
    assert len(wanted & found) > 0.95 * len(wanted)


def test_pymupdf_says_nothing_of_a_broken_file(real, capfd):
    PdfSource(real("nasty/issue-202.pdf")).text_layer(1)
    assert pymupdf.TOOLS.mupdf_display_errors() is False
    assert capfd.readouterr() == ("", "")
