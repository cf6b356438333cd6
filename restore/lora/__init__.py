"""Trains LoRAs: small additions to a pipeline's weights that teach it a subject or a look."""
