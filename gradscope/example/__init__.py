"""A small language model of letters, trained here, with real inputs: files for every command of the documents.

``training`` trains ``language_model`` on ``text``; ``folder`` writes it all, through ``weights_files``.
"""
