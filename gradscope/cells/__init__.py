"""One recurrence per file, and the registry."""
