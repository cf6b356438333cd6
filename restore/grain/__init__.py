"""A reel's own grain: learned from its flat areas, made anew at any size."""
