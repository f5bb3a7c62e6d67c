"""What to do about a refusal, by the words in which Qdrant refuses.

The status alone does not say it: 400 stands for every limit of strict mode, 403 for everything that a key may
not do. The words are those of Qdrant 1.19; an unknown refusal gets the advice of its status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

REQUEST_OVER_RATE = "larger than rate limiter capacity"
"""In the refusal of a request that costs more than a whole minute allows: it has to be split."""

TOO_OLD = "the server's version may be too old: docrag is tested with 1.19 and later"
_KEY = "as DOCRAG_API_KEY"

_HINTS: Mapping[str, str] = {
    # Strict mode: the limits of a collection.
    r'Index required but not found for "(?P<key>[^"]+)"': (
        "the collection is in strict mode, which refuses a filter on {key} without an index: docrag ingest "
        "creates the indexes that are missing; for a field that docrag does not index, create one on the "
        "server (PUT /collections/NAME/index)"
    ),
    r"No appropriate index for faceting: `(?P<key>[^`]+)`": (
        "the server counts values of indexed fields only: docrag ingest creates the indexes that are missing"
    ),
    r'Limit exceeded \S+ > (?P<limit>\d+) for "limit"': (
        "the collection's strict mode gives {limit} pages at most (max_query_limit): ask for fewer with "
        "-k, or raise it"
    ),
    r'Limit exceeded \S+ > (?P<limit>\d+) for "search batch size"': (
        "the collection's strict mode takes {limit} searches at once (search_max_batchsize): raise it"
    ),
    r'Limit exceeded \S+ > (?P<limit>\d+) for "(?:upsert|update) limit"': (
        "the collection's strict mode takes {limit} pages at once (upsert_max_batchsize): raise it"
    ),
    r'Limit exceeded \S+ > (?P<limit>\d+) for "timeout"': (
        "the collection's strict mode allows {limit} seconds for a request (max_timeout): raise it"
    ),
    r'Limit exceeded \S+ > (?P<limit>\S+) for "(?P<key>[^"]+)"': (
        "the collection's strict mode allows {limit} for {key}: raise it"
    ),
    r"Exact search disabled|vector indexing is disabled": (
        "the collection's strict mode refuses to compare every page (search_allow_exact = false): set "
        "it to true, or search with --mode text or --mode cosine, whose vectors have an index"
    ),
    r"Filter condition limit reached": (
        "the collection's strict mode allows fewer conditions in a filter (filter_max_conditions): give "
        "fewer values or conditions, or raise it"
    ),
    r"Condition size limit reached": (
        "the collection's strict mode allows fewer values in a condition (condition_max_size): give fewer "
        "values, or raise it"
    ),
    r"Max points count limit of (?P<limit>\d+) reached": (
        "the collection's strict mode allows {limit} pages (max_points_count): raise it, or remove files"
    ),
    r"Max vector storage size limit": (
        "the vectors have reached max_collection_vector_size_bytes in the collection's strict mode: raise "
        "it, or store fewer of them, with docrag migrate and --max-patches or --datatype"
    ),
    r"Max payload storage size limit": (
        "the payloads have reached max_collection_payload_size_bytes in the collection's strict mode: "
        "raise it, or remove files"
    ),
    r"Multivector '(?P<key>[^']+)' has a limit": (
        "the collection's strict mode allows fewer vectors of {key} on a page (multivector_config): raise "
        "it, or store fewer of them, with docrag migrate and --max-patches"
    ),
    r"Sparse vector '(?P<key>[^']+)' has a limit": (
        "the collection's strict mode allows fewer terms of {key} on a page (sparse_config): raise it"
    ),
    r"maximum number of payload indices": (
        "the collection's strict mode allows fewer indexes of the payload (max_payload_index_count): "
        "raise it, or drop an index that nobody needs"
    ),
    r"Resident memory usage is at": (
        "the server's memory is nearly full (max_resident_memory_percent of strict mode): give it more memory"
    ),
    r"(?P<key>Read|Write) rate limit exceeded": (
        "the collection's strict mode allows fewer operations a minute ({key}_rate_limit): raise it, send "
        "fewer requests, or try later"
    ),
    # What a key may not do.
    r"Global manage access is required": (
        f"the key may read and not change anything: give one that may write {_KEY}"
    ),
    r"Global access is required|Manage access for this operation": (
        "the key is for certain collections only; the first ingest and docrag migrate create collections and "
        f"aliases, which needs a key for the whole server: give one {_KEY}"
    ),
    r"Access to collection (?P<key>\S+) is required": (
        "the key is for other collections: name one of them in --index, such as {key}--1 where the key names "
        "the collection and not its alias, or have {key} added to the key"
    ),
    r"Write access to collection (?P<key>\S+) is required": (
        "the key may read the collection {key} and not write it: give one that may write " + _KEY
    ),
    r"Only points access is allowed for collection": (
        "the key may write pages and not indexes of the payload (prw): give one with the access rw " + _KEY
    ),
    r"ExpiredSignature": f"the token has expired: give a new one {_KEY}",
    r"InvalidSignature": (
        f"the token was signed with another key than the server's api_key: give one of this server {_KEY}"
    ),
    r"stateful validation failed": (
        f"the token is bound to a value that is no longer stored (value_exists): give a new one {_KEY}"
    ),
    r"Storage locked": "an administrator has locked the server for writing: try again once it is unlocked",
    r"Invalid API key or JWT": (
        f"the server has another key than the one given {_KEY}; for a token, it needs service.jwt_rbac = true"
    ),
    # What the server does not understand.
    r"Format error in JSON|unknown (?:variant|field)|not match any variant": TOO_OLD,
}
"""Advice by a pattern of the server's message; groups of the pattern fill the braces."""


def refusal_hint(message: str) -> str:
    """Return what to do about a refusal; empty if its words are not known.

    >>> refusal_hint('Forbidden: Write access to collection reports is required')
    'the key may read the collection reports and not write it: give one that may write as DOCRAG_API_KEY'
    """
    for pattern, hint in _HINTS.items():
        match = re.search(pattern, message)
        if match:
            groups = match.groupdict()
            key = groups.get("key", "").removeprefix("metadata.")
            if key in ("Read", "Write"):
                key = key.lower()
            return hint.format(**{**groups, "key": key})
    return ""
