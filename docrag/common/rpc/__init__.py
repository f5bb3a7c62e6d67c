"""Calls from one process to another on the same machine, over a Unix socket.

A call is one message each way (`frames`): a header in JSON and the raw bytes of its arrays (`codec`).
"""
