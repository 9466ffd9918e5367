"""Many runs at once, and one run on many devices: `vmap`, `pmap` and `shard_map` around the loops, none of them copied."""
