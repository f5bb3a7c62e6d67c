"""An index in a collection on a Qdrant server, through qdrant-client."""
