"""A number that says how wrong a network is, and its gradient."""
