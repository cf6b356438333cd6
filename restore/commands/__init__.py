"""The commands of the command line, one file for each group; none loads torch before it must."""
