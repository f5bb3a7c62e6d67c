import numpy as np
import pytest
import torch

from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.models.minilm_model import weights_directory
from docrag.encode.models.minilm_torch import TorchBert


@pytest.fixture(scope="module")
def bert() -> TorchBert:
    return TorchBert(weights_directory())


def test_gives_what_transformers_gives(bert: TorchBert):
    mend_torchvision()
    from transformers import BertModel

    reference = BertModel.from_pretrained(weights_directory(), add_pooling_layer=False).eval()
    ids = torch.randint(1000, 20000, (3, 40), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 40, dtype=torch.bool)
    mask[1, 20:] = False
    with torch.inference_mode():
        expected = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(bert(ids, mask)[mask], expected[mask], atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing(bert: TorchBert):
    ids = np.array([[101, 7592, 2088, 102, 0, 0]], np.int32)
    [padded, alone] = bert.hidden_states([ids, ids[:, :4]])
    np.testing.assert_allclose(padded[:, :4], alone, atol=1e-5, rtol=1e-4)
