"""What is done to a whole index: migrate, export, import, estimate, label, follow a folder."""
