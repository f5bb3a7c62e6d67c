"""Turns pages, captions and queries into vectors; each model family is one module in models/."""
