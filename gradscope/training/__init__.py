"""A network over training time: rows by checkpoint or watched step, and what they come to.

``checkpoint_series``: the verb, from checkpoints.
``columns``: which fields a row holds. ``steps``: where a checkpoint stands in training, by its name.
``checkpoint``: one of them, measured. ``summary``: first, last, extreme and trend.
"""
