"""Where pages are kept and looked up: records in Qdrant, and page images beside them."""
