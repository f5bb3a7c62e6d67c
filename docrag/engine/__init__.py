"""The engine's own process: it holds the shard and the query encoder of one directory for all others.

`docrag.store.local.process` starts it and finds it; nothing imports it.
"""
