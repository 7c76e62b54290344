"""From a SOURCE (a spec or a file) to a network."""
