"""The counter's rules: one shard's ledger, and what it announces."""
