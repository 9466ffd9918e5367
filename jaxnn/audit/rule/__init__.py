"""One rule against its forward: the gates of `check`."""
