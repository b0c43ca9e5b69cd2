"""The actors' rules. They are pure: no I/O, no clock, no randomness, no logging. Callers pass the time."""
