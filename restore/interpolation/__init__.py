"""Pictures between two frames, and when they are due."""
