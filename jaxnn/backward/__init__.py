"""What a backward pass can tell while it goes by."""
