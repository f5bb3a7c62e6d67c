"""The names of what an index in a directory consists of."""

FINGERPRINT = "fingerprint.json"
"""What the index was built with. A directory without it holds no index."""
POINTS = "points"
"""The shard of the engine."""
