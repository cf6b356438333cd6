"""What a person, or a program that reads JSON lines, is told while work is done."""
