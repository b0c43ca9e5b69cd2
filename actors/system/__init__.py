"""What every process needs of the operating system: exit codes, locks, addresses, listeners."""
