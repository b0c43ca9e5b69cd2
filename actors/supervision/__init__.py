"""Supervision of operating system processes, as OTP supervises Erlang processes."""
