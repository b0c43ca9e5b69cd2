"""The version of playtally."""

VERSION = "0.1.0"
