"""What a user holds: the index, the models that it was built with, and its status."""

from docrag.index.index import Index

__all__ = ["Index"]
