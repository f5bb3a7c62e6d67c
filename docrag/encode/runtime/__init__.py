"""How models are run: devices, batches, replicas, and requests of many threads."""
