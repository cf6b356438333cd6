"""Two clips or pictures held against each other: next to each other, by wipe, by difference."""
