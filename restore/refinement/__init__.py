"""Refining frames with a diffusion pipeline: tiles that are denoised together, noise that moves
with the picture, what was painted before carried on, and the hold that the source keeps on it.

The gate (``gate``) needs no diffusion: every stage that may invent detail goes through it.
"""
