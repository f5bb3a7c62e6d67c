from docrag.read.blocks import JOINED_CHARS, UNSPLIT_CHARS, PlacedWord, lay_out


def line(
    text: str, x: float, y: float, block: int, number: int = 0, letter: float = 10, wide: float = 6
) -> list[PlacedWord]:
    """The words of a line of letters `wide` across."""
    words = []
    for word in text.split():
        words.append(PlacedWord(word, (x, y, x + wide * len(word), y + letter), block, number))
        x += wide * (len(word) + 1)
    return words


def texts(words: list[PlacedWord], width: float = 600, height: float = 800) -> list[str]:
    return [block.text for block in lay_out(words, width, height)[1]]


def test_cells_close_together_become_a_row_and_rows_a_block():
    words = line("Net sales", 50, 100, 0) + line("1,308", 116, 100, 1) + line("Cost 12", 50, 114, 2)
    assert texts(words) == ["Net sales 1,308\nCost 12"]


def test_columns_stay_apart_even_where_their_lines_are_level():
    left = [word for n in range(5) for word in line("left column text", 50, 100 + 12 * n, 0, n)]
    right = [word for n in range(5) for word in line("right column text", 180, 100 + 12 * n, 1, n)]
    assert [text.split()[0] for text in texts(left + right)] == ["left", "right"]


def test_no_block_covers_another_one():
    words = (
        line("left", 50, 100, 0)
        + line("a footer below both columns", 50, 114, 1)
        + line("right", 150, 103, 2)
    )
    assert len(texts(words)) == 3


def test_a_heading_stays_apart_from_its_text():
    words = line("Heading", 50, 100, 0, letter=14) + line("text below it", 50, 116, 1)
    assert texts(words) == ["Heading", "text below it"]


def test_lines_with_a_wide_gap_stay_apart():
    assert len(texts(line("one", 50, 100, 0) + line("two", 50, 130, 1))) == 2


def test_joined_blocks_stay_short():
    words = [word for n in range(60) for word in line("twenty letters a line", 50, 12 * n, n)]
    found = texts(words)
    assert len(found) > 1
    assert max(map(len, found)) <= JOINED_CHARS


def test_a_long_block_is_split_between_rows():
    words = [word for n in range(100) for word in line("some thirty letters in a line", 50, 12 * n, 0, n)]
    found = texts(words)
    assert sum(map(len, found)) > UNSPLIT_CHARS > 2 * max(map(len, found))
    assert all(text.startswith("some") and text.endswith("line") for text in found)


def test_a_block_within_the_limit_is_held_together():
    words = [word for n in range(40) for word in line("some thirty letters in a line", 50, 12 * n, 0, n)]
    assert len(texts(words)) == 1


def test_words_point_to_their_block_and_boxes_are_shares_of_the_page():
    words, blocks = lay_out(line("one", 60, 80, 0) + line("two", 60, 400, 7), 600, 800)
    assert [word.block for word in words] == [0, 1]
    assert words[0].box == blocks[0].box == (0.1, 0.1, 0.13, 0.1125)
    assert blocks[0].size == 0.0125


def test_size_of_text_that_runs_up_the_page_is_the_width_of_its_letters():
    _, blocks = lay_out([PlacedWord("sideways", (10, 100, 20, 180), 0, 0)], 600, 800)
    assert blocks[0].size == 0.0125


def test_a_page_without_words_has_no_blocks():
    assert lay_out([], 600, 800) == ((), ())
