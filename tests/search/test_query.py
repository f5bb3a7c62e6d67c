import pytest
from PIL import Image

from docrag.errors import QueryError
from docrag.search.query import Query, open_image, require_recording


def test_there_must_be_something_to_look_for(tmp_path):
    for empty in ("", "  \n"):
        with pytest.raises(QueryError, match="empty"):
            Query(empty)
    Query(image=Image.new("RGB", (2, 2)))
    Query(audio=tmp_path / "voice.wav")


@pytest.mark.parametrize("given", [None, 5, {"question": "When?"}])
def test_what_is_no_text_is_no_query(given):
    with pytest.raises(QueryError, match=f"not text but {type(given).__name__}"):
        Query(given)


def test_k_counts_from_one():
    with pytest.raises(QueryError, match="k = 0"):
        Query("ferry", k=0)


def test_images_are_turned_as_their_camera_says(tmp_path):
    picture = Image.new("L", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    opened = open_image(tmp_path / "turned.jpg")
    assert (opened.mode, opened.size) == ("RGB", (20, 30))


def test_files_that_are_not_there_or_no_images_are_refused(tmp_path):
    with pytest.raises(QueryError, match="does not exist"):
        open_image(tmp_path / "none.png")
    with pytest.raises(QueryError, match="does not exist"):
        require_recording(tmp_path / "none.wav")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(QueryError, match="cannot be read as an image"):
        open_image(tmp_path / "text.png")
