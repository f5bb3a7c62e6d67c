"""Turn pages, captions and queries into vectors: one file a model family."""
