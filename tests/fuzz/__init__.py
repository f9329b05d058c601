"""What strangers may send, made from seeds."""
