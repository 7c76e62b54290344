"""From a SOURCE (a spec, a file, or what a Python caller holds) to a network.

``spec``: the grammar. ``build``: ``build_source``, the one way in. ``kinds``: the kinds of sources there are.
``built_network``, ``drawing``, ``ensembles``, ``seeding``: networks that are drawn.
``file_format``, ``files``: which format a file has, and its weights; a reader per format (``torch_file``,
``safetensors``, ``npz``, ``keras_file``, ``onnx_file``, ``hdf5``, ``matrices``).
``naming``, ``module_selection``: tensors under PyTorch's names to layers; which module is meant.
``heads``: the file's own readout and embedding. ``edits``: what-if edits.
``live``, ``held``, ``given_arrays``: models and arrays in memory. ``inputs``: x_1 … x_T.
``budget``: what reading one file may cost.
"""
