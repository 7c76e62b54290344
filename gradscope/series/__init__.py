"""A network over training time: rows by checkpoint or watched step, and what they come to.

``columns``: which fields a row holds. ``summary``: first, last, extreme and trend.
"""
