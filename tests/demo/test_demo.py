from pathlib import Path

import pymupdf
import pytest
from PIL import Image, ImageChops, ImageStat

from docrag.demo import QUESTIONS, Question, documents, make

ANSWERS = {
    "skerry_lines_annual_report_2023.pdf": ["Kiosk and catering", "24.6"],
    "tarn12_manual.pdf": ["red four times", "Ultraviolet tube failed"],
}
NAMES = list(make.BUILDERS)


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make.make(folder)
    return folder


def pages(path: Path) -> list[str]:
    with pymupdf.open(path) as document:
        return [" ".join(page.get_text().split()) for page in document]


def picture(path: Path) -> Image.Image:
    with pymupdf.open(path) as document:
        pixmap = document[0].get_pixmap(dpi=72, colorspace=pymupdf.csGRAY)
    return Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)


def test_nothing_else_is_shipped() -> None:
    assert sorted(path.name for path in documents().iterdir()) == sorted(NAMES)


def test_the_documents_are_small() -> None:
    assert sum(path.stat().st_size for path in documents().iterdir()) < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_documents_are_those_that_the_script_makes(rebuilt: Path, name: str) -> None:
    # Not byte by byte: another release of PyMuPDF or libjpeg writes the same pages in other bytes.
    assert pages(documents() / name) == pages(rebuilt / name)
    difference = ImageChops.difference(picture(documents() / name), picture(rebuilt / name))
    assert ImageStat.Stat(difference).mean[0] < 2


@pytest.mark.slow
def test_making_twice_gives_the_same_bytes(rebuilt: Path, tmp_path: Path) -> None:
    for path in make.make(tmp_path):
        assert path.read_bytes() == (rebuilt / path.name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_set(name: str) -> None:
    with pymupdf.open(documents() / name) as document:
        assert document.metadata["title"] == make.BUILDERS[name][0]


def test_the_report_has_page_labels() -> None:
    with pymupdf.open(documents() / "skerry_lines_annual_report_2023.pdf") as document:
        assert [page.get_label() for page in document] == ["i", "ii", "1", "2", "3"]


def test_the_scan_has_no_text_layer() -> None:
    with pymupdf.open(documents() / "scan_20240212.pdf") as document:
        assert [page.get_text() for page in document] == [""]
        assert len(document[0].get_images()) == 1


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.file in ANSWERS], ids=lambda q: q.file)
def test_answers_stand_on_one_page(question: Question) -> None:
    found = [
        number
        for number, text in enumerate(pages(documents() / question.file), start=1)
        if all(answer in text for answer in ANSWERS[question.file])
    ]
    assert found == [question.page]


def test_the_typed_page_behind_the_scan_answers_its_question() -> None:
    from docrag.demo.maintenance_scan import typed

    text = " ".join(typed().document[0].get_text().split())
    assert "the bearing ran short of oil during the gale" in text
    assert [(q.file, q.page) for q in QUESTIONS][1] == ("scan_20240212.pdf", 1)


@pytest.mark.parametrize("name", [name for name in NAMES if "scan" not in name])
def test_no_text_overlaps_or_leaves_the_page(name: str) -> None:
    with pymupdf.open(documents() / name) as document:
        for page in document:
            words = [pymupdf.Rect(word[:4]) for word in page.get_text("words")]
            assert all(page.rect.contains(word) for word in words)
            # Line boxes touch; letters overlap when a third of a word's height lies over another word.
            clashes = [(a & b) for i, a in enumerate(words) for b in words[:i] if a.intersects(b)]
            assert all(clash.width < 2 or clash.height < 5 for clash in clashes)
