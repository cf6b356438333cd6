"""Generated from proto/restore/v1 by proto/generate.py; do not edit."""
