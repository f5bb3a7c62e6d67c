"""Where an index stands: in a directory, or in a collection on a Qdrant server."""
