"""How models are run: devices, batches, replicas, and the requests of many threads."""
