"""The parts of imagebind_docrag that do not need ImageBind's library."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.util import find_spec

import imagebind_docrag.encoder
import numpy as np
import pytest
from imagebind_docrag.encoder import WEIGHTS
from imagebind_docrag.inputs import BINS, CLIPS, FRAMES, clips_of, mel_frames, pixels_of

from docrag.encode.base import EncoderOptions
from docrag.encode.checkpoints.torchvision import mend_torchvision
from docrag.encode.registry import list_models, name_of, page_encoder
from docrag.errors import ModelUnavailable, QueryError, SettingsError
from tests.integrations.imagebind.sounds import write_sound
from tests.samples import make_image

with_sound = pytest.mark.skipif(find_spec("soundfile") is None, reason="soundfile is not installed")


@pytest.mark.parametrize("size", [(300, 400), (1240, 1754), (500, 200), (223, 225), (30, 31), (224, 224)])
def test_pixels_are_those_of_imagebinds_own_transform(size):
    pytest.importorskip("torch")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision, the reference, is not installed")
    mend_torchvision()
    from torchvision import transforms

    reference = transforms.Compose(  # imagebind.data.load_and_transform_vision_data
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    image = make_image(1, *size)
    np.testing.assert_allclose(pixels_of(image), reference(image).numpy(), atol=1e-6)


def test_mel_frames_are_those_of_kaldi():
    seconds = np.arange(8000) / 16000
    tones = 0.3 * np.sin(2 * np.pi * 440 * seconds) + 0.1 * np.sin(2 * np.pi * 3000 * seconds)
    mel_bins = mel_frames(tones.astype(np.float32))
    assert mel_bins.shape == (BINS, FRAMES)
    expected = {  # torchaudio 2.11: compliance.kaldi.fbank, called as imagebind.data calls it
        (0, 0): -15.1281, (0, 47): -13.0725, (10, 25): -10.7314, (10, 47): -10.4823, (30, 0): -8.5226,
        (30, 47): -8.54, (64, 25): -15.9424, (90, 0): -11.996, (90, 47): -11.9967, (127, 47): -15.9424,
    }  # fmt: skip
    for position, value in expected.items():
        assert mel_bins[position] == pytest.approx(value, abs=2e-3)
    assert (mel_bins[:, 48:] == 0).all()


@with_sound
def test_three_clips_are_taken_of_the_first_channel(tmp_path):
    clips = clips_of(write_sound(tmp_path / "long.wav", 8))
    assert clips.shape == (CLIPS, 1, BINS, FRAMES)
    assert clips.dtype == np.float32
    assert not np.allclose(clips[0], clips[1])  # the tone grows louder
    stereo = clips_of(write_sound(tmp_path / "stereo.wav", 8, channels=2))
    np.testing.assert_array_equal(stereo, clips)
    short = clips_of(write_sound(tmp_path / "short.wav", 1))
    np.testing.assert_array_equal(short[0], short[2])


@with_sound
def test_a_recording_of_another_rate_is_resampled(tmp_path):
    expected = clips_of(write_sound(tmp_path / "16000.wav", 3))
    resampled = clips_of(write_sound(tmp_path / "44100.wav", 3, rate=44100))
    loud = expected > expected.max() - 0.5
    np.testing.assert_allclose(resampled[loud], expected[loud], atol=0.02)


@with_sound
@pytest.mark.parametrize("content", [None, b"no sound"], ids=["missing", "not a sound file"])
def test_files_that_cannot_be_read_are_refused(tmp_path, content):
    path = tmp_path / "sound.wav"
    if content:
        path.write_bytes(content)
    with pytest.raises(QueryError, match="cannot be read"):
        clips_of(path)


@with_sound
def test_a_recording_of_less_than_25_ms_is_refused(tmp_path):
    with pytest.raises(QueryError, match="shorter than 25 ms"):
        clips_of(write_sound(tmp_path / "click.wav", 0.02))


def test_without_the_library_it_is_listed_with_what_it_needs(monkeypatch):
    monkeypatch.setattr(imagebind_docrag.encoder, "REQUIRED_PACKAGES", ("no_such_library",))
    [row] = [row for row in list_models() if row["name"] == "imagebind"]
    assert "not installed: no_such_library" in row["unavailable"]
    assert "pip install" in row["unavailable"]
    assert "non-commercial" in row["unavailable"]


@pytest.mark.parametrize(
    ("path", "message"), [(None, f"{WEIGHTS} is not set"), ("/no/such.pth", "/no/such.pth")]
)
def test_without_weights_the_error_names_the_variable(monkeypatch, path, message):
    monkeypatch.setattr(imagebind_docrag.encoder, "REQUIRED_PACKAGES", ())
    monkeypatch.delenv(WEIGHTS, raising=False)
    if path:
        monkeypatch.setenv(WEIGHTS, path)
    with pytest.raises(ModelUnavailable, match=message) as caught:
        page_encoder("imagebind")
    assert WEIGHTS in str(caught.value)


def test_the_spec_has_the_licence_and_the_digest_of_the_weights(monkeypatch, tmp_path):
    weights = tmp_path / "weights.pth"
    monkeypatch.setattr(imagebind_docrag.encoder, "REQUIRED_PACKAGES", ())
    monkeypatch.setenv(WEIGHTS, str(weights))
    for content in (b"some", b"other weights"):
        weights.write_bytes(content)
        spec = page_encoder("imagebind").spec
        assert spec.digest == hashlib.sha256(content).hexdigest()
    assert "non-commercial" in spec.licence
    assert (spec.dim, spec.kind, name_of(spec.fingerprint())) == (1024, "single", "imagebind")


@pytest.mark.parametrize("options", [EncoderOptions(resolution=512), EncoderOptions(max_patches=64)])
def test_another_resolution_is_refused(options):
    with pytest.raises(SettingsError, match="224 by 224"):
        page_encoder("imagebind", options)


def test_listing_it_loads_neither_torch_nor_the_library():
    code = (
        "import sys; from docrag.encode.registry import list_models\n"
        "assert 'imagebind' in {row['name'] for row in list_models()}\n"
        "print({'torch', 'transformers', 'imagebind', 'timm', 'scipy'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
