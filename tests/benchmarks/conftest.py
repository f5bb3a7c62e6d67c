"""Benchmarks take minutes and are run as modules, such as `python -m tests.benchmarks.test_search`."""

collect_ignore_glob = ["*.py"]
