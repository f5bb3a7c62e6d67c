import numpy as np
import pymupdf
import pytest

from docrag.errors import EmptyDocument, PasswordRequired, UnreadableDocument, UnsupportedFile
from docrag.read.ocr import is_blank
from docrag.read.opening import open_source
from docrag.read.pdf import PdfSource, clean_title, printable, saslprep

LIMIT = 4_000_000


def two_lines(page: pymupdf.Page) -> None:
    page.insert_text((120, 200), "HELLO WORLD", fontsize=30)
    page.insert_text((120, 500), "second", fontsize=20)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("cropped", [False, True])
def test_boxes_cover_the_letters_as_displayed(make_pdf, rotation, cropped):
    def draw(page):
        two_lines(page)
        if cropped:
            page.set_cropbox(pymupdf.Rect(50, 100, 400, 600))
        page.set_rotation(rotation)

    source = open_source(make_pdf(draw), ())
    layer = source.text_layer(1)
    ink = np.asarray(source.picture(1, 1000, LIMIT).convert("L")) < 128
    assert [word.text for word in layer.words] == ["HELLO", "WORLD", "second"]
    assert (layer.width > layer.height) == (ink.shape[1] > ink.shape[0])
    for word in layer.words:
        x0, y0, x1, y1 = (np.array(word.box) * np.tile(ink.shape[::-1], 2)).astype(int)
        inside = ink[y0 : y1 + 1, x0 : x1 + 1]
        assert inside.any()
        inside[...] = False
    assert not ink.any()


def test_columns_are_read_one_after_the_other(make_pdf):
    def draw(page):
        page.insert_textbox((50, 50, 240, 700), "left " * 60, fontsize=11)
        page.insert_textbox((260, 50, 450, 700), "right " * 60, fontsize=11)

    layer = PdfSource(make_pdf(draw)).text_layer(1)
    assert [block.text.split()[0] for block in layer.blocks] == ["left", "right"]
    assert layer.blocks[0].box[2] < layer.blocks[1].box[0]


def test_table_rows_become_blocks_with_their_rows_in_lines(make_pdf):
    def draw(page):
        for row, cells in enumerate([("Sales", "10", "20"), ("Costs", "30", "40"), ("Profit", "50", "60")]):
            for column, cell in enumerate(cells):
                page.insert_text((60 + 60 * column, 100 + 14 * row), cell, fontsize=10)

    layer = PdfSource(make_pdf(draw)).text_layer(1)
    assert "\n".join(block.text for block in layer.blocks) == "Sales 10 20\nCosts 30 40\nProfit 50 60"


def test_words_off_the_page_are_dropped_and_boxes_clipped(make_pdf):
    def draw(page):
        page.insert_text((470, 100), "overlapping", fontsize=20)
        page.insert_text((900, 100), "outside", fontsize=20)

    layer = PdfSource(make_pdf(draw)).text_layer(1)
    assert len(layer.words) == 1
    assert layer.words[0].box[2] == 1.0


def test_labels_title_and_headline(make_pdf):
    path = make_pdf(
        "word " * 60,
        "two",
        "three",
        labels=[
            {"startpage": 0, "style": "r", "firstpagenum": 4},
            {"startpage": 2, "prefix": "A-", "style": "D"},
        ],
        metadata={"title": " Annual \n report "},
    )
    source = PdfSource(path)
    assert [source.text_layer(number).label for number in (1, 2, 3)] == ["iv", "v", "A-1"]
    assert source.title == "Annual report"
    assert source.headline.startswith("word word")
    assert len(source.headline) <= 200


def test_without_labels_the_label_is_the_page_number(make_pdf):
    assert PdfSource(make_pdf("one", "two")).text_layer(2).label == "2"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Untitled", ""),
        ("Microsoft Word - Report 2020.docx", ""),
        ("Microsoft Word - Report 2020", "Report 2020"),
        ("PowerPoint Presentation", ""),
        ("scan_001.PDF", ""),
        ("Form 10-K", "Form 10-K"),
        ("A\x00 B", "A B"),
    ],
)
def test_clean_title(raw, clean):
    assert clean_title(raw) == clean


def test_printable_drops_what_cannot_be_encoded_or_seen():
    assert printable("a\udcffb\u00adc\ue000\x07d") == "abcd"


@pytest.mark.parametrize("password", ["secret", "SªSL\u00adprep"])
def test_an_encrypted_file_opens_with_its_password(make_pdf, password):
    path = make_pdf("behind a lock", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=saslprep(password))
    source = PdfSource(path, ("wrong", password))
    assert source.text_layer(1).words[0].text == "behind"


@pytest.mark.parametrize(
    ("passwords", "reason"), [((), "no password was given"), (("x",), "none of the passwords")]
)
def test_an_encrypted_file_without_its_password_is_refused(make_pdf, passwords, reason):
    path = make_pdf("behind a lock", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret")
    with pytest.raises(PasswordRequired, match=reason) as caught:
        PdfSource(path, passwords)
    assert "--password" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "password", "pages"),
    [
        ("saslprep-r6.pdf", "SªSL\u00adprep", 1),
        ("issue3371.pdf", "ELXRTQWS", 1),
        ("enc-XI-R6,V5,U=view,O=master.pdf", "view", 30),
        ("libreoffice-writer-password.pdf", "openpassword", 1),
    ],
)
def test_real_encrypted_files_open(real, name, password, pages):
    assert PdfSource(real(f"nasty/{name}"), (password,)).total_pages == pages


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("issue18986.pdf", EmptyDocument),
        ("empty.pdf", EmptyDocument),
        ("poppler-67295-0.pdf", UnreadableDocument),
        ("poppler-742-0-fuzzed.pdf", UnreadableDocument),
    ],
)
def test_real_broken_files_are_refused(real, name, error):
    with pytest.raises(error):
        open_source(real(f"nasty/{name}"), ())


@pytest.mark.parametrize("name", ["bad-xref.pdf", "issue-202.pdf"])
def test_real_files_that_can_be_repaired_open(real, name):
    assert open_source(real(f"nasty/{name}"), ()).text_layer(1).words


@pytest.mark.parametrize(("name", "error"), [("a.pdf", UnreadableDocument), ("a.txt", UnsupportedFile)])
def test_a_text_file_is_refused(tmp_path, name, error):
    (tmp_path / name).write_text("only text\n" * 100)
    with pytest.raises(error):
        open_source(tmp_path / name, ())


@pytest.mark.parametrize("side", [3, 500, 4000])
def test_pictures_have_the_requested_size_whatever_the_page_size(tmp_path, side):
    with pymupdf.open() as file:
        file.new_page(width=side, height=side / 2)
        file.save(tmp_path / "page.pdf")
    source = PdfSource(tmp_path / "page.pdf")
    assert source.picture(1, 1280, LIMIT).size == (1280, 640)
    small = source.picture(1, 1280, 10_000)
    assert small.width * small.height <= 10_000


def test_form_fields_are_rendered(make_pdf):
    def draw(page):
        field = pymupdf.Widget()
        field.rect = pymupdf.Rect(100, 100, 300, 140)
        field.field_type = pymupdf.PDF_WIDGET_TYPE_TEXT
        field.field_name, field.field_value, field.fill_color = "name", "filled in", (0, 0, 0)
        page.add_widget(field)

    source = PdfSource(make_pdf(draw, ""))
    assert not is_blank(source.picture(1, 1280, LIMIT))
    assert is_blank(source.picture(2, 1280, LIMIT))
