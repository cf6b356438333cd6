"""What a reel is like: measured of its frames in one pass, said in plain words."""
