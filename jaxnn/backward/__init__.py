"""The backward pass as one fold over a network, and what observers see of it."""
