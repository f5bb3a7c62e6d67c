import numpy as np
import pytest
from PIL import Image

from docrag.common.images import to_rgb
from docrag.errors import UnreadableDocument
from docrag.read.image import ImageSource

LIMIT = 4_000_000


def half_black(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Black on the left half."""
    picture = Image.new("L", size, 255)
    picture.paste(0, (0, 0, size[0] // 2, size[1]))
    return picture


def red(picture: Image.Image, place: tuple[int, int]) -> int:
    return int(np.asarray(picture)[place[1], place[0], 0])


def test_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    half_black().convert("RGB").save(tmp_path / "a.jpg", exif=exif, dpi=(72, 72))
    source = ImageSource(tmp_path / "a.jpg")
    picture = source.picture(1, 1280, LIMIT)
    assert picture.size == (40, 60)
    assert red(picture, (20, 5)) < 50 < red(picture, (20, 55))
    layer = source.text_layer(1)
    assert (layer.width, layer.height, layer.words) == (40, 60, ())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((np.asarray(half_black(), dtype=np.float64) * 40).astype(kind))
        assert image.mode == mode
    else:
        image = half_black().convert("RGB").convert(mode)
    picture = to_rgb(image)
    assert picture.mode == "RGB"
    assert red(picture, (5, 5)) < 10
    assert red(picture, (55, 5)) > 245


def test_what_is_transparent_becomes_white():
    assert to_rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_every_frame_of_a_tiff_is_a_page(tmp_path):
    frames = [Image.new("L", (30 + 10 * n, 20), 100 * n) for n in range(3)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:], dpi=(144, 144))
    source = ImageSource(tmp_path / "a.tiff")
    assert source.total_pages == 3
    assert [source.picture(n, 1280, LIMIT).width for n in (3, 1, 2)] == [50, 30, 40]
    assert source.text_layer(2).width == 20.0


def test_a_large_picture_is_made_smaller(tmp_path):
    half_black((3000, 1500)).save(tmp_path / "a.png")
    assert ImageSource(tmp_path / "a.png").picture(1, 1280, LIMIT).size == (1280, 640)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableDocument):
        ImageSource(path)


def test_an_image_with_too_many_pixels_is_refused(tmp_path, monkeypatch):
    half_black((100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableDocument, match="too many pixels") as caught:
        ImageSource(tmp_path / "a.png")
    assert caught.value.hint
