"""Checkpoints on this disk: what they are, which family reads them, and how their weights are loaded."""
