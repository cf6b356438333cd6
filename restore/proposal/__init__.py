"""What follows from what was found of a reel: settings with their reasons, as a recipe."""
