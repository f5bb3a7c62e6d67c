"""The web face of an index: a page to search with, a JSON API and the pictures of its pages.

`create_app` makes the application, `docrag serve` runs it.
"""
