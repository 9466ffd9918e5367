"""Escaped bugs of what slides a window: convolution and max-pooling."""

import jax.numpy as jnp
import numpy as np
from seeded_bugs.drawing import drawn, escape, normal

# Shapes: x (B, H, W, C), kernel (h, w, C, F) -> y (B, H - h + 1, W - w + 1, F).


def correlate(x, kernel):
    """y_ij = sum_kl x_(i+k)(j+l) kernel_kl, written out."""
    h, w = kernel.shape[:2]
    rows, columns = x.shape[1] - h + 1, x.shape[2] - w + 1
    y = jnp.zeros((x.shape[0], rows, columns, kernel.shape[3]), x.dtype)
    for k in range(h):
        for l in range(w):  # noqa: E741 (the textbook's letter)
            y = y + jnp.matmul(x[:, k : k + rows, l : l + columns], kernel[k, l])
    return y


def convolution_backward(x, kernel, dy, *, flip=True, shift=0, late=0):
    """dx = dy, padded by the kernel's size less one, correlated with the flipped kernel, channels swapped."""
    h, w = kernel.shape[:2]
    flipped = kernel[::-1, ::-1] if flip else kernel
    padded = jnp.pad(dy, ((0, 0), (h - 1 + shift, h - 1 - shift), (w - 1, w - 1), (0, 0)))
    dx = correlate(padded, jnp.swapaxes(flipped, 2, 3))
    rows, columns = dy.shape[1:3]
    moved = jnp.roll(x, -late, axis=2)
    dkernel = jnp.stack(
        [
            jnp.stack(
                [
                    jnp.tensordot(moved[:, k : k + rows, l : l + columns], dy, axes=((0, 1, 2), (0, 1, 2)))
                    for l in range(w)  # noqa: E741
                ]
            )
            for k in range(h)
        ]
    )
    return dx, dkernel


def convolution_not_flipped(x, kernel, dy):
    return convolution_backward(x, kernel, dy, flip=False)


def convolution_padded_on_one_side(x, kernel, dy):
    return convolution_backward(x, kernel, dy, shift=1)


def convolution_late_window(x, kernel, dy):
    return convolution_backward(x, kernel, dy, late=1)


# Shapes: x (B, L) -> y (B, windows): windows of SIZE numbers, every STRIDE.

SIZE, STRIDE = 3, 2


def places(x):
    """Where each window's numbers lie: (windows, SIZE)."""
    return np.arange(0, x.shape[1] - SIZE + 1, STRIDE)[:, None] + np.arange(SIZE)


def max_pool(x):
    windows = x[:, places(x)]
    return jnp.take_along_axis(windows, jnp.argmax(windows, axis=2, keepdims=True), axis=2)[:, :, 0]


def winners(x):
    """The place of each window's first largest number: (B, windows)."""
    start = jnp.asarray(places(x)[None, :, 0])
    return jnp.argmax(x[:, places(x)], axis=2).astype(start.dtype) + start


def max_pool_right(x, dy):
    rows = jnp.broadcast_to(jnp.arange(x.shape[0])[:, None], dy.shape)
    return (jnp.zeros_like(x).at[rows, winners(x)].add(dy),)


def max_pool_assigns(x, dy):
    dx = jnp.zeros_like(x)
    for window in range(dy.shape[1]):
        dx = dx.at[jnp.arange(x.shape[0]), winners(x)[:, window]].set(dy[:, window])
    return (dx,)


def max_pool_to_every_winner(x, dy):
    windows, y = x[:, places(x)], max_pool(x)
    parts = jnp.where(windows == y[:, :, None], dy[:, :, None], 0)
    return (jnp.zeros_like(x).at[:, places(x)].add(parts),)


def max_pool_first_window(x, dy):
    return max_pool_right(x, dy.at[:, 1:].set(0))


def max_pool_last_winner(x, dy):
    windows = x[:, places(x)]
    last = SIZE - 1 - jnp.argmax(windows[:, :, ::-1], axis=2)
    rows = jnp.broadcast_to(jnp.arange(x.shape[0])[:, None], dy.shape)
    return (jnp.zeros_like(x).at[rows, last + jnp.asarray(places(x)[None, :, 0])].add(dy),)


def shared_winners(generator):
    """One number in each row that wins two windows at once."""
    x = generator.normal(size=(2, 9))
    x[0, 2] = x[1, 4] = 5.0
    return (x,)


def tied_windows(generator):
    x = generator.normal(size=(2, 9))
    x[0, 0] = x[0, 1] = x[1, 5] = x[1, 6] = 5.0
    return (x,)


IMAGES = normal((2, 5, 4, 2), (3, 2, 2, 3))

WINDOWS = (
    escape(
        "convolution: kernel not flipped in dx",
        "the classic of hand-written convolutions; hidden by a symmetric kernel",
        correlate,
        convolution_not_flipped,
        convolution_backward,
        IMAGES,
        "dx",
    ),
    escape(
        "convolution: padding off by one on one side",
        "dy padded by h on one side and h - 2 on the other, so that shapes agree",
        correlate,
        convolution_padded_on_one_side,
        convolution_backward,
        IMAGES,
        "dx",
    ),
    escape(
        "convolution: windows of x one column late",
        "an off-by-one window in the kernel's gradient",
        correlate,
        convolution_late_window,
        convolution_backward,
        IMAGES,
        "the kernel's gradient",
    ),
    escape(
        "max-pool assigns where windows overlap",
        "hanbingtao's cnn.py, MaxPoolingLayer.backward; tangermeme PR #95 by max_unpool1d",
        max_pool,
        max_pool_assigns,
        max_pool_right,
        drawn(shared_winners),
        "a number that wins two windows",
    ),
    escape(
        "max-pool: every winner takes all",
        "CNN-from-scratch's back_prop, patch == max",
        max_pool,
        max_pool_to_every_winner,
        max_pool_right,
        drawn(tied_windows),
        "a tie",
    ),
    escape(
        "max-pool: the last winner takes it",
        "the tie rule of an argmax that runs backwards, where the first is declared",
        max_pool,
        max_pool_last_winner,
        max_pool_right,
        drawn(tied_windows),
        "a tie",
    ),
    escape(
        "max-pool: first window only",
        "CNN-from-scratch issue #1: a return indented into the loop; the network still learned",
        max_pool,
        max_pool_first_window,
        max_pool_right,
        normal((2, 9)),
        "any cotangent",
    ),
)
