import pytest

from docrag.encode.base import EncoderOptions
from docrag.encode.encoders import Encoders
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.ingest.batch_size import CPU_FIRST, MOST, SLOW_SECONDS, WORDS, AdaptiveBatchSize


def encoders(late: str = "minilm", image: str | None = None) -> Encoders:
    seeing = page_encoder(image) if image else None
    return Encoders(page_encoder(late), text_encoder("minilm"), Bm25Encoder("english"), seeing)


def warm(batch_size: AdaptiveBatchSize) -> AdaptiveBatchSize:
    batch_size.took(batch_size.pages, 60)
    return batch_size


def test_quick_batches_grow_to_the_most():
    batch_size = warm(AdaptiveBatchSize(4, 1, MOST))
    for _ in range(20):
        batch_size.took(batch_size.pages, 0.1)
    assert batch_size.pages == MOST


def test_slow_batches_shrink_to_the_least():
    batch_size = warm(AdaptiveBatchSize(32, 3, MOST))
    for _ in range(9):
        batch_size.took(batch_size.pages, 2 * SLOW_SECONDS)
    assert batch_size.pages == 3


def test_the_batch_that_loads_the_model_and_the_last_one_say_nothing():
    batch_size = AdaptiveBatchSize(8, 1, MOST)
    batch_size.took(8, 60)
    batch_size.took(2, 0.01)
    assert batch_size.pages == 8


@pytest.mark.parametrize("image", [None, "voyage-multimodal-3"])
def test_words_and_hosted_models_keep_their_batch(image):
    batch_size = warm(AdaptiveBatchSize.of(encoders(image=image), EncoderOptions()))
    for seconds in (0.1, 2 * SLOW_SECONDS):
        batch_size.took(batch_size.pages, seconds)
        assert batch_size.pages == WORDS


def test_devices_get_what_they_take_at_once(checkpoint):
    seeing = encoders(late=checkpoint("colqwen2"))
    assert AdaptiveBatchSize.of(seeing, EncoderOptions(device="cpu")).pages == CPU_FIRST
    assert AdaptiveBatchSize.of(seeing, EncoderOptions(device="cpu,cpu")).pages == 2 * CPU_FIRST
    fixed = warm(AdaptiveBatchSize.of(seeing, EncoderOptions(device="cpu,cpu", batch_size=16)))
    fixed.took(fixed.pages, 2 * SLOW_SECONDS)
    assert fixed.pages == 32
