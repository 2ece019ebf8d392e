"""Images: what there is (`sources`), as arrays on disk (`decoding`), as batches (`loading`).

`sources` and `decoding` work without torch, so that looking at a folder of images stays quick.
"""
