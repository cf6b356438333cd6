"""The model room: which weights there are, how they get here safely, and how they are run.

``catalog`` knows models by name, ``store`` keeps verified safetensors files, ``convert`` turns a
published ``.pth`` into one in a child process, ``load`` makes a network that can be called.
Importing ``catalog``, ``store`` or ``choose`` loads no torch.
"""
