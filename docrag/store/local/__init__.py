"""Pages in a directory, searched in this process by qdrant-edge."""
