"""The web server over an index: a search page, a JSON API and the images of its pages.

`create_app` builds the application; `docrag serve` runs it.
"""
