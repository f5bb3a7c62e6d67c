import pytest
import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.minilm import Bert, weights_directory


@pytest.fixture(scope="module")
def bert() -> Bert:
    return Bert(weights_directory())


def test_gives_what_transformers_gives(bert: Bert):
    mend_torchvision()
    from transformers import BertModel

    reference = BertModel.from_pretrained(weights_directory(), add_pooling_layer=False).eval()
    ids = torch.randint(1000, 20000, (3, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1, 20:] = False
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(bert(ids, mask)[mask], expected[mask], atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing(bert: Bert):
    ids = torch.tensor([[101, 7592, 2088, 102, 0, 0]])
    torch.testing.assert_close(bert(ids, ids != 0)[:, :4], bert(ids[:, :4]), atol=1e-5, rtol=1e-4)
