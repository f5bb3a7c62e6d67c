from docrag.read.order import reading_order


def test_columns_of_text_are_read_one_after_the_other():
    title = (50, 50, 550, 70)
    left = [(50, 100 + 20 * n, 290, 112 + 20 * n) for n in range(5)]
    right = [(310, 100 + 20 * n, 550, 112 + 20 * n) for n in range(5)]
    mixed = [box for pair in zip(left, right, strict=True) for box in pair]
    order = [member for row in reading_order([title, *mixed]) for member in row]
    assert order == [0, 1, 3, 5, 7, 9, 2, 4, 6, 8, 10]


def test_cells_of_a_table_stay_in_their_row():
    labels = [(50, 100 + 20 * n, 250, 112 + 20 * n) for n in range(4)]
    numbers = [(400, 101 + 20 * n, 440, 113 + 20 * n) for n in range(4)]
    assert reading_order(labels + numbers) == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_a_row_is_read_from_left_to_right():
    assert reading_order([(300, 100, 350, 110), (50, 101, 100, 111)]) == [[1, 0]]


def test_nothing_has_no_order():
    assert reading_order([]) == []
