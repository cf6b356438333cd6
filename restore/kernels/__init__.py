"""Kernels of our own for a GPU, each with a twin in plain torch that says what it computes."""
