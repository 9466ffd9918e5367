"""Layers, a rule each: backward under forward, one file a family."""
