"""The names of what an index in a directory consists of."""

FINGERPRINT = "fingerprint.json"
"""What the index was built with. A directory without it holds no index."""
POINTS = "points"
"""The shard of the engine."""


def index_name(address: str) -> str:
    """The name of an index in the addresses of its page images: the last part of its own address.

    >>> index_name("http://localhost:6333/reports"), index_name("/home/ada/my-index/"), index_name("/")
    ('reports', 'my-index', 'index')
    """
    return address.rstrip("/").rpartition("/")[2] or "index"
