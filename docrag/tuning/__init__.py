"""How few pages a search needs to compare exactly, measured on the index itself."""
