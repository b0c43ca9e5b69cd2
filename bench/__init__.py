"""Benchmarks, as commands that anyone can run. `python -m bench` runs the main ones."""
