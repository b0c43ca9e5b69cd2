"""What is promised to a client, and how few publishes there could be."""
