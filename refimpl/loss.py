"""Loss, the error that drives the controller, and the target it is given (section 3)."""

from __future__ import annotations

import numpy as np

from .configuration import Feedback


def softmax(u: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(u - np.max(u, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(u: np.ndarray) -> np.ndarray:
    """Logarithm of the softmax over the last axis."""
    v = u - np.max(u, axis=-1, keepdims=True)
    return v - np.log(np.sum(np.exp(v), axis=-1, keepdims=True))


def sample_loss(loss: str, u_out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Loss of each sample: −Σ y log softmax(u_out), or ½ Σ (y − u_out)².

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out, y : array, (..., batch, n_out)
        Readout potential and label.

    Returns
    -------
    array, (..., batch)
    """
    if loss == "mse":
        return np.sum((y - u_out) ** 2, axis=-1) / 2
    return -np.sum(y * log_softmax(u_out), axis=-1)


def error(loss: str, u_out: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Error e, the negative gradient of the loss: target − softmax(u_out), or target − u_out.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out, target : array, (..., batch, n_out)
        Readout potential and target.

    Returns
    -------
    array, (..., batch, n_out)
    """
    return target - (u_out if loss == "mse" else softmax(u_out))


def error_jacobian(loss: str, u_out: np.ndarray) -> np.ndarray:
    """S = −∂e/∂u_out (section 6): the softmax Jacobian diag(p) − pᵀp, or the identity.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    u_out : array, (..., batch, n_out)
        Readout potential.

    Returns
    -------
    array, (..., batch, n_out, n_out)
        Symmetric.
    """
    identity = np.eye(u_out.shape[-1], dtype=u_out.dtype)
    if loss == "mse":
        return np.broadcast_to(identity, (*u_out.shape, u_out.shape[-1]))
    p = softmax(u_out)
    return p[..., :, None] * identity - p[..., :, None] * p[..., None, :]


def closed_loop_target(
    loss: str, feedback: Feedback, u_out_open: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Target of the controller: y with strong feedback, a nudge towards it with weak.

    With o the open-loop output, weak feedback gives o + λ (y − o) for MSE and
    softmax(o + λ (y − softmax(o))) for cross-entropy.

    Parameters
    ----------
    loss : {'softmax-cross-entropy', 'mse'}
        Which loss.
    feedback : Feedback
        Holds `strong` and λ, `nudge`.
    u_out_open, y : array, (..., batch, n_out)
        Open-loop readout potential and label.

    Returns
    -------
    array, (..., batch, n_out)
    """
    if feedback.strong:
        return np.broadcast_to(y, u_out_open.shape)
    nudged = u_out_open + feedback.nudge * error(loss, u_out_open, y)
    return nudged if loss == "mse" else softmax(nudged)
