"""Film restoration and upscaling: from a digitised reel, a tape or a generated clip to a master."""

__version__ = "0.1.0"
