"""Several devices, one process each; the CPU, named twice, takes the place of two GPUs."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
import torch

from docrag.encode.base import AudioQueryEncoder, EncoderOptions, ImageQueryEncoder, MixedEncoder
from docrag.encode.registry import page_encoder, text_encoder
from docrag.encode.runtime.replicas import Replicas
from docrag.errors import ModelError, SettingsError, UnknownModel, WeightsMismatch
from tests.checkpoints.families import drop_a_weight
from tests.samples import APPLE, CLOCK, FERRY, make_image, make_page, picture_page

pytestmark = pytest.mark.slow

TWICE = EncoderOptions(device="cpu,cpu", dtype="float32")
ONCE = TWICE.on("cpu")
PLUGIN = '''
import os, signal, time
import numpy as np
import torch
from docrag.encode.base import ModelSpec
from docrag.errors import SettingsError
from docrag.types import MultiVector

class Odd(Exception):
    def __init__(self, one, two):
        super().__init__("odd")

class Obedient:
    """Does what the title of a page says; gives its process, threads and the page's number."""

    spec = ModelSpec("obedient", "obedient", "1", "", "tests", 3, "single", "words", "none")

    def __init__(self, options):
        pass

    def encode_pages(self, pages):
        return [self.encode_page(page) for page in pages]

    def encode_page(self, page):
        match page.document.title:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "sleep":
                time.sleep(100)
            case "leave":
                os._exit(3)
            case "odd":
                raise Odd(1, 2)
            case "settings":
                raise SettingsError("not like that", "like this")
        return MultiVector(np.array([[os.getpid(), torch.get_num_threads(), page.number]], np.float64))

    def encode_queries(self, texts):
        return [MultiVector(np.array([[os.getpid(), 0, 0]], np.float64)) for text in texts]
'''


def pages_titled(*titles):
    return [make_page(FERRY, title=title, number=i) for i, title in enumerate(titles)]


def workers():
    """The worker processes that multiprocessing has spawned from this one, without its resource tracker."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]


@pytest.fixture
def replicas():
    """Makes encoders and closes them."""
    made = []

    def make(name, options=TWICE):
        made.append(page_encoder(name, options))
        return made[-1]

    yield make
    for encoder in made:
        encoder.close()
    assert not workers()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An encoder of an installed package, which other processes find too."""
    (tmp_path / "obedient_docrag.py").write_text(PLUGIN)
    installed = tmp_path / "obedient_docrag-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient-docrag\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[docrag.encoders]\nobedient = obedient_docrag:Obedient\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def same(several, one):
    for ours, theirs in zip(several, one, strict=True):
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-5)
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)


def test_words_are_encoded_as_by_one_process(replicas):
    pages = [make_page(text, number=i) for i, text in enumerate([FERRY, APPLE, CLOCK, "", FERRY * 3])]
    encoder = replicas("minilm")
    same(encoder.encode_pages(pages), page_encoder("minilm", ONCE).encode_pages(pages))
    assert encoder.encode_pages([]) == []


def test_images_are_encoded_as_by_one_process(replicas, checkpoint):
    name = checkpoint("colqwen2")
    pages = [picture_page(seed, 150 + 40 * seed, 300) for seed in range(5)]
    encoder, alone = replicas(name), page_encoder(name, ONCE)
    same(encoder.encode_pages(pages), alone.encode_pages(pages))
    assert encoder.spec == alone.spec
    assert isinstance(encoder, ImageQueryEncoder)
    assert not isinstance(encoder, MixedEncoder | AudioQueryEncoder)
    [ours], [theirs] = (one.encode_query_images([make_image(1)]) for one in (encoder, alone))
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)


def test_images_and_texts_are_mixed_and_labelled_here(replicas, checkpoint):
    name = checkpoint("clip")
    encoder, alone = replicas(name), page_encoder(name, ONCE)
    assert isinstance(encoder, MixedEncoder)
    rows = encoder.encode([make_image(1), "a ferry", make_image(2)])
    np.testing.assert_allclose(rows, alone.encode([make_image(1), "a ferry", make_image(2)]), atol=1e-6)
    labels = ["a ferry", "an apple"]
    np.testing.assert_allclose(encoder.label(rows, labels), alone.label(rows, labels), atol=1e-6)
    assert not workers()


def test_weights_that_lack_are_refused_by_the_process(replicas, checkpoint, tmp_path):
    broken = drop_a_weight(checkpoint("colqwen2"), tmp_path / "broken")
    with pytest.raises(WeightsMismatch, match="lacks") as caught:
        replicas(str(broken)).encode_pages([picture_page(1)])
    assert caught.value.hint


def test_no_process_starts_before_the_first_pages(replicas):
    encoder = replicas("minilm")
    assert isinstance(encoder, Replicas)
    assert encoder.spec.family == "minilm"
    [query] = encoder.encode_queries(["When does the ferry leave?"])
    assert len(query.vectors)
    assert not isinstance(encoder, ImageQueryEncoder)
    assert not workers()


def test_each_process_takes_its_share_and_order_is_kept(replicas, plugin):
    encoder = replicas("obedient")
    rows = np.concatenate([one.vectors for one in encoder.encode_pages(pages_titled(*"abcdefg"))])
    assert rows[:, 2].tolist() == list(range(7))
    assert len(set(rows[:, 0])) == 2
    assert os.getpid() not in rows[:, 0]
    assert set(rows[:, 1]) == {max(1, torch.get_num_threads() // 2)}
    assert encoder.encode_queries(["who?"])[0].vectors[0, 0] == os.getpid()


def test_one_page_needs_one_process_and_processes_stay_from_call_to_call(replicas, plugin):
    encoder = replicas("obedient")
    [alone] = encoder.encode_pages(pages_titled("a"))
    assert len(workers()) == 1
    first, second = (encoder.encode_pages(pages_titled("a", "b")) for _ in range(2))
    assert [one.vectors[0, 0] for one in first] == [one.vectors[0, 0] for one in second]
    assert alone.vectors[0, 0] == first[0].vectors[0, 0]


def test_processes_are_logged_when_they_start_and_when_they_are_lost(replicas, plugin, caplog):
    encoder = replicas("obedient")
    caplog.set_level(logging.INFO, logger="docrag.encode.runtime.replicas")
    with pytest.raises(ModelError):
        encoder.encode_pages(pages_titled("die"))
    assert caplog.messages == [
        "started a process for obedient on cpu",
        "lost the process of a device: it was killed by SIGKILL",
    ]


def test_a_process_that_is_gone_is_an_error_and_the_next_call_has_another(replicas, plugin):
    encoder = replicas("obedient")
    for title, message in (("die", "killed by SIGKILL"), ("leave", "ended with 3")):
        with pytest.raises(ModelError, match=message) as caught:
            encoder.encode_pages(pages_titled("a", title, "sleep"))  # nobody waits for the other one
        assert "memory" in caught.value.hint
        assert not workers()
    assert len(encoder.encode_pages(pages_titled("a", "b", "c"))) == 3
    workers()[0].kill()  # while it is idle
    deadline = time.monotonic() + 10
    while all(pool.active for pool in encoder._pools.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(encoder.encode_pages(pages_titled("a", "b", "c"))) == 3


def test_an_error_comes_through_as_it_is(replicas, plugin):
    encoder = replicas("obedient")
    with pytest.raises(SettingsError) as caught:
        encoder.encode_pages(pages_titled("a", "settings"))
    assert (caught.value.message, caught.value.hint) == ("not like that", "like this")
    assert "encode_page" in str(caught.value.__cause__)  # where it was raised, over there


def test_an_error_that_cannot_cross_is_told_in_words(replicas, plugin):
    with pytest.raises(ModelError, match="on cpu: Odd: odd"):
        replicas("obedient").encode_pages(pages_titled("odd"))


def test_what_is_wrong_with_name_or_device_is_told(replicas):
    with pytest.raises(UnknownModel):
        page_encoder("nonesuch", TWICE)
    with pytest.raises(SettingsError, match="no device 'banana'"):
        replicas("minilm", replace(TWICE, device="cpu,banana")).encode_pages(pages_titled("a", "b"))


def test_a_text_encoder_takes_the_first_device():
    [row] = text_encoder("minilm", TWICE).encode_passages([FERRY])
    np.testing.assert_allclose(row, text_encoder("minilm", ONCE).encode_passages([FERRY])[0], atol=1e-6)


SCRIPT = """
    import signal
    import sys
    from docrag.encode.base import EncoderOptions
    from docrag.encode.registry import page_encoder
    from tests.samples import make_page

    # A shell starts background jobs with SIGINT ignored, which Python then leaves ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def pages(*titles):
        return [make_page("", title=title) for title in titles]

    def work():
        encoder = page_encoder("obedient", EncoderOptions(device="cpu,cpu"))
        encoder.encode_pages(pages("a", "b"))
        print("ready", flush=True)
        encoder.encode_pages(pages(*sys.argv[1:]))
        print("done", flush=True)
"""


@pytest.fixture
def script(plugin):
    """Starts a program, in a process group of its own, that encodes pages of those titles."""

    def start(*titles, call='if __name__ == "__main__":\n    work()\n'):
        file = plugin / "program.py"
        file.write_text(textwrap.dedent(SCRIPT) + call)
        path = os.pathsep.join([str(plugin), str(Path.cwd())])
        return subprocess.Popen(
            [sys.executable, str(file), *titles],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )

    return start


def test_the_processes_end_with_the_program(script):
    with script("c", "d") as program:
        out, _ = program.communicate(timeout=60)
    assert out.split() == ["ready", "done"]
    assert program.returncode == 0


def test_no_process_outlives_a_parent_that_is_killed(script):
    with script("sleep", "sleep") as program:
        assert program.stdout.readline() == "ready\n"
        left = psutil.Process(program.pid).children(recursive=True)
        assert len(left) >= 2
        program.kill()
        _, alive = psutil.wait_procs(left, timeout=10)
        assert not alive


def test_ctrl_c_ends_all_at_once_with_one_traceback(script):
    with script("sleep", "sleep") as program:
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.5)
        os.killpg(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=15)
    assert err.count("Traceback") == 1
    assert "KeyboardInterrupt" in err


def test_a_script_without_a_guard_works_once(script):
    with script("c", call="work()\n") as program:
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out.split(), err) == (0, ["ready", "done"], "")
