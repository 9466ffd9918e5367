"""A whole network's gradient, by hand and by machine: `compare`."""
