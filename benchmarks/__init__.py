"""Workloads timed against what a user would otherwise do; every answer is checked before it is timed."""
