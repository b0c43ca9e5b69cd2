"""The service: its life, its status and metrics, and the admin address."""
