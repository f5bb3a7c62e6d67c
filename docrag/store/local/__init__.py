"""An index in a directory, searched by qdrant-edge."""
