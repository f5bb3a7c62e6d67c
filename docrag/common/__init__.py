"""What several stages use: HTTP, images, worker processes, timing."""
