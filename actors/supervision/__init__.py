"""OTP's supervision over operating system processes."""
