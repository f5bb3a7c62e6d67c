"""Which word of a query each of its vectors stands for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

PROBES = ("x", "7")
"""Two texts of one token each: what their queries begin with alike is the model's own prompt."""

Span = tuple[int, int]
"""First character and the one after the last."""


def words_of(text: str) -> list[Span]:
    """The words of a text: what stands between spaces, without the punctuation around it.

    What is written without spaces, such as Chinese, is one word.

    >>> text = "When (at dawn?) does U.S. GDP ... grow?"
    >>> [text[start:end] for start, end in words_of(text)]
    ['When', 'at', 'dawn', 'does', 'U.S', 'GDP', 'grow']
    """
    found = []
    for run in re.finditer(r"\S+", text):
        start, end = run.span()
        while start < end and _is_punctuation(text[start]):
            start += 1
        while start < end and _is_punctuation(text[end - 1]):
            end -= 1
        if start < end:
            found.append((start, end))
    return found


def words_at(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    """The word that each span of a text belongs to, "" for none.

    Args:
        text: With words.
        spans: Of its tokens, in order.

    >>> words_at("a tide table?", [(0, 1), (2, 6), (7, 9), (9, 12), (12, 13)])
    ('a', 'tide', 'table', 'table', '')
    """
    words = words_of(text)
    found, next_word = [], 0
    for start, end in spans:
        while next_word < len(words) and words[next_word][1] <= start:
            next_word += 1
        within = next_word < len(words) and words[next_word][0] < end and start < end
        found.append(text[slice(*words[next_word])] if within else "")
    return tuple(found)


class QueryWords:
    """Finds the words of a query among all tokens that a processor made of it.

    Each model puts something of its own around the text: a prompt before it, tokens to think in behind it.
    How much stands before it is the same for all texts; its own tokens are known from the text alone.

    Args:
        tokenizer: Of transformers; one in Python alone does not say where its tokens stand.
        queries: Gives the token ids of queries, without padding.
    """

    def __init__(self, tokenizer: Any, queries: Callable[[Sequence[str]], Sequence[Sequence[int]]]) -> None:
        self._tokenizer = tokenizer
        one, other = queries(PROBES)
        alike = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        self._before = next(alike, min(len(one), len(other)))

    def of(self, text: str, ids: Sequence[int]) -> tuple[str, ...] | None:
        """The word that each token of a query belongs to, "" for none; None where nobody can tell.

        Args:
            text: As it was given to the processor.
            ids: What the processor made of it, without padding.
        """
        if not self._tokenizer.is_fast:
            return None
        told = list(ids[self._before :])
        bare = text.strip()  # some prompts strip it; and their last space may be part of its first token
        for said in dict.fromkeys((text, f" {text}", bare, f" {bare}")):
            alone = self._tokenizer(
                said, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            own = alone["input_ids"][: len(told)]
            if own[:-1] == told[: max(0, len(own) - 1)]:  # the last may be one with what follows the text
                words = words_at(said, alone["offset_mapping"][: len(own)])
                around = len(ids) - self._before - len(words)
                return ("",) * self._before + words + ("",) * around
        return None


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P") or letter in "<>|`"
