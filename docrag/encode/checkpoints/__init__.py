"""A checkpoint on this disk: what it is, which library reads it, and how its weights are loaded."""
