"""The dispatcher's rules: the schedule, the batches, when a client is tried."""
