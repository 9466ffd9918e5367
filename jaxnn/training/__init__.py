"""From gradients to a trained network: update rules, the three loops, and many runs at once."""
