"""Durable jobs: an immutable plan, chunks that are kept once done, a journal that survives a kill.

A job's pixels are computed chunk by chunk into lossless files with a sha256 each; the deliverable
is one encode of them with pinned threads. Whatever is killed, and whenever, the job goes on from
the chunks that the journal holds and ends in the same bytes.
"""
