"""The consumer's rules: parsing nsqd's bytes into plays, tracking messages until they are counted, RDY."""
