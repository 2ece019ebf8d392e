"""Everything with torch. `worker/execute.py` is the only entry.

Shapes in docstrings use these letters:

    N      images of a batch
    C      classes of logits (N, C), or channels of a feature map (N, C, H, W)
    S      side of a square image (N, 3, S, S)
    H, W   height and width of a feature map
    O, I   outputs of a layer, and inputs of one group of it
    K, L   height and width of a kernel; *K stands for both, or for nothing in a linear layer
    U      pruning units of a layer: weights, blocks, kernels, filters; or channels of a dependency
           group
    P, Q   positions (pixels or tokens) of an input and of an output

A weight is (O, I, *K), its mask and its scores have the same shape. Sets of weights, masks and
scores are dicts by the name of the parameter, such as `conv1.weight`.
"""
