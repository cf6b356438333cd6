"""The demonstration: a film-like clip with its clean truth, restored and measured."""
