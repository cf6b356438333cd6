"""The engine: windows, tiles, batches, devices and memory. It knows no stage by name."""
