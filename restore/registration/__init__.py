"""Where each frame of a shot lies: its path, what of the path was meant, and moving it there."""
