"""Numerics that see only tapes."""
