"""Take years off the words that they are written to: who asks for "FY2017" may want "fiscal 2017"."""

from __future__ import annotations

import re

_WRITTEN_TO = re.compile(r"\b([A-Za-z]+\d?)'?((?:19|20)\d\d)\b")


def split_years(text: str) -> str:
    """Put a space between a short name and the year behind it.

    >>> split_years("FY2017 against Q2'2023 and COVID19")
    'FY 2017 against Q2 2023 and COVID19'
    """
    return _WRITTEN_TO.sub(r"\1 \2", text)
