"""The counter's rules: one shard's ledger, and the pending videos that it announces."""
