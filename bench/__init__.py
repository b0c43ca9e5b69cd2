"""Benchmarks: what was measured, as commands that anyone can run. `python -m bench` runs them all."""
