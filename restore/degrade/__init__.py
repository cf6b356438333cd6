"""The film degradation model: what optics, film, time, telecine and codecs do to a clean picture.

It serves the training room, the benchmarks and the demonstration alike. Nothing here imports torch,
and nothing keeps a running random generator: every draw comes from (seed, sample, frame).
"""
