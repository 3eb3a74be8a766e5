"""Mistakes in the losses of a step."""

import numpy as np

from disinhib.backends import NumpyBackend
from disinhib.refimpl.circuit import softmax

from .fault import BACKPROP, PLAIN, WEAK, fault, replace

SQUARED = "exact-inverse-mse-default"
SQUARED_WEAK = "exact-inverse-mse-weak"


def outputs(backend, x, y):
    """Of open and closed loop, and the controller's target, in float64."""
    open_loop, _ = backend.open_loop(x)
    Q = backend.feedback_weights(open_loop)
    target = backend.closed_loop_target(open_loop, y)
    closed_loop, _ = backend.closed_loop(x, Q, target, open_loop)
    return (np.asarray(u, np.float64) for u in (open_loop.u_out, closed_loop.u_out, target))


def loss_fault(name, hint, case, spoil):
    """List a mistake in a step's metrics; `spoil` is of (metrics, u_open, u_closed, target, y)."""

    def learning_step(self, x, y):
        x, y = np.asarray(x, self.dtype), np.asarray(y, self.dtype)
        found = (None, None, None) if case == BACKPROP else outputs(self, x, y)
        metrics = NumpyBackend.learning_step(self, x, y)
        return spoil(metrics, *found, np.asarray(y, np.float64))

    fault(name, "losses", case, hint, learning_step=learning_step)


def both_times(factor):
    return lambda m, u_open, u_closed, target, y: replace(
        m, loss=factor * m.loss, closed_loop_loss=factor * m.closed_loop_loss
    )


def cross_entropy(u_out, y, axis=1):
    """Section 3, mean over the batch; the softmax along an axis of (batch, n_out)."""
    p = np.exp(u_out) / np.exp(u_out).sum(axis=axis, keepdims=True)
    return np.mean([-np.sum(label * np.log(row)) for label, row in zip(y, p, strict=True)])


def squared(u_out, y):
    return np.mean([np.sum((label - row) ** 2) / 2 for label, row in zip(y, u_out, strict=True)])


def of_both(loss):
    """Losses of both loops by one's own formula, of (u_out, label)."""
    return lambda m, u_open, u_closed, target, y: replace(
        m, loss=loss(u_open, y), closed_loop_loss=loss(u_closed, y)
    )


loss_fault("no half", "the ½ is missing", SQUARED, both_times(2))
loss_fault("sum of losses", "losses are summed over the batch", PLAIN, both_times(5))
loss_fault("sum of losses in backprop", "losses are summed over the batch", BACKPROP, both_times(5))
loss_fault("mean over outputs", "divided by the number of outputs", SQUARED, both_times(1 / 4))
for name, case, loss in (("cross-entropy", WEAK, cross_entropy), ("mse", SQUARED_WEAK, squared)):
    loss_fault(
        f"loss of the nudge, {name}",
        "losses are of the nudged target",
        case,
        lambda m, u_open, u_closed, target, y, loss=loss: replace(
            m, closed_loop_loss=loss(u_closed, target)
        ),
    )
    loss_fault(
        f"both losses of the nudge, {name}",
        "losses are of the nudged target",
        case,
        lambda m, u_open, u_closed, target, y, loss=loss: replace(
            m, loss=loss(u_open, target), closed_loop_loss=loss(u_closed, target)
        ),
    )
loss_fault(
    "one loss for both loops",
    "the closed loop's loss is that of the open loop's output",
    PLAIN,
    lambda m, u_open, u_closed, target, y: replace(m, closed_loop_loss=m.loss),
)
loss_fault(
    "losses exchanged",
    "the losses of open and closed loop are exchanged",
    PLAIN,
    lambda m, u_open, u_closed, target, y: replace(
        m, loss=m.closed_loop_loss, closed_loop_loss=m.loss
    ),
)
loss_fault(
    "losses of hard labels",
    "labels are 1 on the class",
    PLAIN,
    of_both(lambda u_out, y: cross_entropy(u_out, y > 0.5)),
)
loss_fault(
    "losses of a softmax over the batch",
    "the softmax goes over the batch",
    PLAIN,
    of_both(lambda u_out, y: cross_entropy(u_out, y, axis=0)),
)
loss_fault(
    "squared error of probabilities",
    "the squared error of the softmax",
    PLAIN,
    of_both(lambda u_out, y: squared(softmax(u_out), y)),
)
loss_fault(
    "losses of the first sample",
    "the loss of the first sample alone",
    PLAIN,
    of_both(lambda u_out, y: cross_entropy(u_out[:1], y[:1])),
)
