"""Layers made of layers, and copies of a network with other layers in it."""
