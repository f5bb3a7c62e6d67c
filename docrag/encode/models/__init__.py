"""The model families, one module each; encode/registry.py lists them."""
