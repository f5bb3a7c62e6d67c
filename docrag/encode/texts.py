"""Texts around the models: words that carry meaning, years, special tokens, and the words of tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves what which who whom this that these those am is
    are was were be been being have has had having do does did doing a an the and but if or because as until
    while of at by for with about against between into through during before after above below to from up
    down in out on off over under again further then once here there when where why how all any both each
    few more most other some such no nor not only own same so than too very s t can will just don should now
    d ll m o re ve y ain aren couldn didn doesn hadn hasn haven isn ma mightn mustn needn shan shouldn wasn
    weren won wouldn
    """.split()
)
"""Function words of English. minilm is an English model: dropping its function words from pages and queries
gained 0.034 nDCG@10 on the development set (0.648 against 0.614), and saved a third of the vectors."""
QUESTION_WORDS = STOP_WORDS | frozenset(
    "please could would also may might must shall one many much us".split()
)
"""Words that carry no meaning in a question, though they may on a page."""
PROCESSOR_TOKENS = ("image_token", "video_token")
"""The tokens that processors count in a text; they fail if there is not an image for each."""
PROBES = ("x", "7")
"""Two texts of one token each: the common beginning of their queries is the model's own prompt."""

_YEAR_AFTER_NAME = re.compile(r"\b([A-Za-z]+\d?)'?((?:19|20)\d\d)\b")

Span = tuple[int, int]
"""The first character and the one after the last."""


def is_content(tokens: Sequence[str], stop_words: frozenset[str] = STOP_WORDS) -> list[bool]:
    """Whether each word piece carries meaning: it is neither punctuation nor a stop word.

    Args:
        tokens: Word pieces in order; those that continue a word begin with ##, as in BERT's vocabulary.
        stop_words: The words that carry no meaning.

    >>> is_content(["the", "ferry", "'", "s", "a", "##1", "."])
    [False, True, False, False, True, True, False]
    """
    result = []
    for position, token in enumerate(tokens):
        following = tokens[position + 1] if position + 1 < len(tokens) else ""
        has_letters = any(letter.isalnum() for letter in token)
        # A stop word that another piece continues is the beginning of another word.
        is_stop_word = token in stop_words and not following.startswith("##")
        result.append(has_letters and not is_stop_word)
    return result


def split_years(text: str) -> str:
    """Put a space between a short name and the year after it: "FY2017" then also matches "fiscal 2017".

    >>> split_years("FY2017 against Q2'2023 and COVID19")
    'FY 2017 against Q2 2023 and COVID19'
    """
    return _YEAR_AFTER_NAME.sub(r"\1 \2", text)


def special_tokens(processor: Any) -> list[str]:
    """The tokens that stand for an image, padding or an end, and not for their own letters.

    Args:
        processor: The processor of a model that sees images, with its tokenizer.
    """
    added = processor.tokenizer.added_tokens_decoder.values()
    tokens = {token.content for token in added if token.special}
    tokens |= {str(getattr(processor, name, None) or "") for name in PROCESSOR_TOKENS}
    return sorted(token for token in tokens if len(token) > 1)


def without_special_tokens(text: str, special: Sequence[str]) -> str:
    """A text in which nothing is taken for a special token, as pages about HTML or models may contain them.

    >>> without_special_tokens("what is <image> here", ["<image>"])
    'what is < image> here'
    """
    for token in special:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def word_spans(text: str) -> list[Span]:
    """The words of a text: the runs between spaces, without the punctuation around them.

    Text that is written without spaces, such as Chinese, is one word.

    >>> text = "When (at dawn?) does U.S. GDP ... grow?"
    >>> [text[start:end] for start, end in word_spans(text)]
    ['When', 'at', 'dawn', 'does', 'U.S', 'GDP', 'grow']
    """
    spans = []
    for run in re.finditer(r"\S+", text):
        start, end = run.span()
        while start < end and _is_punctuation(text[start]):
            start += 1
        while start < end and _is_punctuation(text[end - 1]):
            end -= 1
        if start < end:
            spans.append((start, end))
    return spans


def words_at(text: str, spans: Sequence[Span]) -> tuple[str, ...]:
    """The word that each span of a text belongs to, "" for none.

    Args:
        text: The text.
        spans: The spans of its tokens, in order.

    >>> words_at("a tide table?", [(0, 1), (2, 6), (7, 9), (9, 12), (12, 13)])
    ('a', 'tide', 'table', 'table', '')
    """
    words = word_spans(text)
    names = []
    position = 0
    for start, end in spans:
        while position < len(words) and words[position][1] <= start:
            position += 1
        is_within = position < len(words) and words[position][0] < end and start < end
        names.append(text[slice(*words[position])] if is_within else "")
    return tuple(names)


class QueryWords:
    """Finds the words of a query among all tokens that a processor made of it.

    Each model adds tokens of its own around the text: a prompt before it, and tokens after it that the model
    uses as additional query vectors. The prompt is equally long for all texts; the tokens of the text itself
    are known from tokenizing it alone.

    Args:
        tokenizer: A tokenizer of transformers; one written in pure Python cannot say where its tokens are.
        queries: Returns the token ids of queries, without padding.
    """

    def __init__(self, tokenizer: Any, queries: Callable[[Sequence[str]], Sequence[Sequence[int]]]) -> None:
        self._tokenizer = tokenizer
        first, second = queries(PROBES)
        differing = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        self._prompt_length = next(differing, min(len(first), len(second)))

    def of(self, text: str, ids: Sequence[int]) -> tuple[str, ...] | None:
        """The word that each token of a query belongs to, "" for none; None if that cannot be determined.

        Args:
            text: The text that the processor was given.
            ids: The ids that the processor made of it, without padding.
        """
        if not self._tokenizer.is_fast:
            return None
        after_prompt = list(ids[self._prompt_length :])
        stripped = text.strip()  # some prompts strip the text; and their last space may join its first token
        for variant in dict.fromkeys((text, f" {text}", stripped, f" {stripped}")):
            alone = self._tokenizer(
                variant, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
            own_ids = alone["input_ids"][: len(after_prompt)]
            compared = max(0, len(own_ids) - 1)  # the last token may be joined with what follows the text
            if own_ids[:-1] == after_prompt[:compared]:
                words = words_at(variant, alone["offset_mapping"][: len(own_ids)])
                behind = len(ids) - self._prompt_length - len(words)
                return ("",) * self._prompt_length + words + ("",) * behind
        return None


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P") or letter in "<>|`"
