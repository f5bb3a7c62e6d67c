"""Pages on a Qdrant server, by qdrant-client."""
