"""The promises to a client, their audit, and a lower bound on the number of publishes."""
