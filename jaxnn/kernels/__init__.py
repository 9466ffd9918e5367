"""Convolution and pooling on plain arrays, forward and backward, in the form that suits each platform."""
