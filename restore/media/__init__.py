"""The only room that imports av: opening, probing, reading and writing media."""
