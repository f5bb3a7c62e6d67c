from docrag.ingest.pace import FIRST, MOST, SLOW, WORDS, Pace


def test_quick_batches_grow_to_the_most():
    pace = Pace(FIRST, MOST)
    for _ in range(20):
        pace.took(0.1)
    assert pace.pages == MOST


def test_slow_batches_shrink_to_one_page():
    pace = Pace(FIRST, MOST)
    for _ in range(5):
        pace.took(2 * SLOW)
    assert pace.pages == 1


def test_words_keep_their_batch():
    pace = Pace(WORDS, WORDS)
    pace.took(0.1)
    pace.took(2 * SLOW)
    assert pace.pages == WORDS
