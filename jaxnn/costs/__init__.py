"""What a network costs in memory and operations, without running it."""
