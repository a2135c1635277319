"""The commands of ``python -m secalloc``."""
