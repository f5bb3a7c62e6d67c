import threading

import pytest

from docrag.common.timing import listening, report_time, timed


def test_a_listener_is_called_for_the_stages_of_its_own_thread_only():
    reported: list[tuple[str, str]] = []
    other = threading.Thread(target=report_time, args=("elsewhere", 1.0))
    with listening(lambda stage, model, seconds: reported.append((stage, model))), timed("embed", "a model"):
        other.start()
        other.join()
    report_time("nobody listens", 1.0)
    assert reported == [("embed", "a model")]


def test_an_inner_listener_replaces_the_outer_one_within_its_block():
    outer: list[str] = []
    inner: list[str] = []
    with listening(lambda stage, *_: outer.append(stage)):
        with listening(lambda stage, *_: inner.append(stage)):
            report_time("a", 1.0)
        report_time("b", 1.0)
    assert (outer, inner) == (["b"], ["a"])


def test_a_stage_that_fails_is_not_reported():
    reported: list[float] = []
    with listening(lambda stage, model, seconds: reported.append(seconds)):
        with pytest.raises(ValueError, match="broken"), timed("embed"):
            raise ValueError("broken")
        report_time("render", 0.5)
    assert reported == [0.5]
