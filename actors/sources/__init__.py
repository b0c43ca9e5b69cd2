"""Where plays come from: what a source offers (`source.py`), and the fast reader of nsqd."""
