"""What is measured of frames for stages and reports: shots, repeats, fields."""
