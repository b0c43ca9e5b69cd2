"""The consumer's rules: bytes from nsqd to plays, what is held until it is counted, RDY."""
