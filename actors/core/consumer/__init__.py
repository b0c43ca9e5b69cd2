"""The consumer's rules: parse nsqd's bytes into plays, track messages until they are counted, set RDY."""
