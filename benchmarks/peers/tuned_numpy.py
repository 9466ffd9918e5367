"""The textbook MLP's epoch in NumPy, tuned: every buffer allocated once, products by BLAS into them.

For one example the weights are in Fortran order, so that BLAS updates them where they lie by a rank-one `sger`. For a
batch the gradient is a product into a buffer: SciPy's `sgemm` with beta = 1 would save the buffer, but its threads and
NumPy's, each library's own, then fight for the cores (13 ms a step were seen at batch 8).
"""

import numpy as np
from scipy.linalg.blas import sger
from scipy.special import expit


class TunedNumPy:
    """One network with its buffers, for one batch size; `epoch` changes its weights in place."""

    def __init__(self, params, batch_size):
        (w1, b1), (w2, b2) = params
        layout = "F" if batch_size == 1 else "C"
        self.w1, self.w2 = np.array(w1, order=layout), np.array(w2, order=layout)
        self.dw1, self.dw2 = np.empty_like(self.w1), np.empty_like(self.w2)
        self.b1, self.b2 = np.array(b1), np.array(b2)
        n_in, n_hidden, n_out = *self.w1.shape, self.w2.shape[1]
        self.x, self.t = np.empty((batch_size, n_in), np.float32), np.empty((batch_size, n_out), np.float32)
        self.h, self.delta1, self.slope1 = (np.empty((batch_size, n_hidden), np.float32) for _ in range(3))
        self.y, self.delta2, self.slope2 = (np.empty((batch_size, n_out), np.float32) for _ in range(3))

    def epoch(self, order, images, targets, learning_rate, scale):
        batch_size = len(self.x)
        losses = np.empty(len(order) // batch_size, np.float32)
        for i in range(len(losses)):
            losses[i] = self.step(order[i * batch_size : (i + 1) * batch_size], images, targets, learning_rate, scale)
        return losses

    def step(self, batch, images, targets, learning_rate, scale):
        batch_size = len(batch)
        np.multiply(images[batch], np.float32(scale), out=self.x)
        np.take(targets, batch, axis=0, out=self.t, mode="clip")
        np.dot(self.x, self.w1, out=self.h)
        self.h += self.b1
        expit(self.h, out=self.h)
        np.dot(self.h, self.w2, out=self.y)
        self.y += self.b2
        expit(self.y, out=self.y)
        np.subtract(self.y, self.t, out=self.delta2)
        loss = np.vdot(self.delta2, self.delta2) / (2 * batch_size)
        np.subtract(1, self.y, out=self.slope2)
        self.slope2 *= self.y
        self.delta2 *= self.slope2
        self.delta2 /= batch_size
        np.dot(self.delta2, self.w2.T, out=self.delta1)
        np.subtract(1, self.h, out=self.slope1)
        self.slope1 *= self.h
        self.delta1 *= self.slope1
        self._descend(self.w1, self.b1, self.dw1, self.x, self.delta1, np.float32(learning_rate))
        self._descend(self.w2, self.b2, self.dw2, self.h, self.delta2, np.float32(learning_rate))
        return loss

    def _descend(self, w, b, dw, x, delta, learning_rate):
        """w -= eta x^T delta and b -= eta sum delta, without a temporary of w's size."""
        if len(x) == 1:
            sger(-learning_rate, x[0], delta[0], a=w, overwrite_a=True)
            b -= learning_rate * delta[0]
        else:
            np.dot(x.T, delta, out=dw)
            dw *= learning_rate
            w -= dw
            b -= learning_rate * delta.sum(0)
