import json
from pathlib import Path

import pytest

from docrag.errors import SettingsError
from docrag.evaluate import read_qrels, read_queries

HEADER = "query-id\tcorpus-id\tscore\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_queries_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [{"_id": "b", "text": "Why?", "metadata": {"source": "made"}}, {"_id": "a", "text": "How?"}]
    queries = read_queries(written(tmp_path / "q.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n"))
    assert list(queries) == ["b", "a"]
    assert (queries["b"].text, queries["b"].source, queries["a"].source) == ("Why?", "made", "")


def test_line_separators_inside_json_do_not_end_a_line(tmp_path: Path) -> None:
    queries = read_queries(written(tmp_path / "q.jsonl", '{"_id": "a", "text": "one\u2028two"}\r\n'))
    assert queries["a"].text == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"text": "Why?"}', "no _id"),
        ('{"_id": 7, "text": "Why?"}', "no _id"),
        ('{"_id": "b", "text": "  "}', "no text"),
        ('{"_id": "b", "text": "Why?", "metadata": 3}', "metadata"),
        ('{"_id": "a", "text": "Why?"}', "twice"),
    ],
)
def test_a_malformed_query_is_named_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = written(tmp_path / "q.jsonl", '{"_id": "a", "text": "How?"}\n' + line)
    with pytest.raises(SettingsError, match=complaint) as raised:
        read_queries(path)
    assert f"{path}:2" in raised.value.message
    assert raised.value.hint


def test_qrels_keep_names_with_spaces_and_number_signs(tmp_path: Path) -> None:
    text = "\ufeff" + HEADER + "q1\tAnnual report #3.pdf#12\t2\nq1\tb.pdf#1\t0\nq2\tb.pdf#1\t1\n"
    assert read_qrels(written(tmp_path / "qrels.tsv", text)) == {
        "q1": {"Annual report #3.pdf#12": 2, "b.pdf#1": 0},
        "q2": {"b.pdf#1": 1},
    }


def test_a_judgement_given_twice_alike_counts_once(tmp_path: Path) -> None:
    assert read_qrels(written(tmp_path / "qrels.tsv", HEADER + "q\ta.pdf#1\t1\n" * 2)) == {
        "q": {"a.pdf#1": 1}
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q a.pdf#1 1", "fields"),
        ("q\ta.pdf#1", "fields"),
        ("\ta.pdf#1\t1", "fields"),
        ("q\ta.pdf\t1", "no page"),
        ("q\ta.pdf#0\t1", "no page"),
        ("q\ta.pdf#x\t1", "no page"),
        ("q\ta.pdf#1\thigh", "not a score"),
        ("q\ta.pdf#1\t-1", "not a score"),
        ("p\ta.pdf#1\t2", "judged twice"),
    ],
)
def test_a_malformed_judgement_is_named_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    path = written(tmp_path / "qrels.tsv", HEADER + "p\ta.pdf#1\t1\n" + line)
    with pytest.raises(SettingsError, match=complaint) as raised:
        read_qrels(path)
    assert f"{path}:3" in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("text", ["", "q\ta.pdf#1\t1\n"])
def test_qrels_without_a_header_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="no header"):
        read_qrels(written(tmp_path / "qrels.tsv", text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        read_queries(tmp_path / "absent.jsonl")
    (tmp_path / "latin.tsv").write_bytes(b"\xe9\n")
    with pytest.raises(SettingsError, match="cannot read"):
        read_qrels(tmp_path / "latin.tsv")
