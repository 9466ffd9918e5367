"""How far apart two right gradients may be: what rounding does to a derivative."""
