"""Compositions of cells: each runs over inputs and leaves a tape.

``network``: what a network is. ``layer``, ``stack``, ``bidirectional``, ``independent``, ``closed_loop``: the kinds.
``seq2seq``, ``seq2seq_tape``, ``soft_decoder``: encoder and decoder.
``trajectory``: ``run_network``, a run that is stored where it fits and recomputed from checkpoints where not.
``readout``: the loss side. ``loss_input_gradients``, ``parameter_gradients``, ``sensitivity``: derivatives of a run.
"""
