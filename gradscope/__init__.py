"""Gradient dynamics in recurrent networks."""
