"""A network that disinhib has trained, as a PyTorch module: its circuit without and with control.

    network = load("network.npz")
    u_out = network(x)                       # outputs at rest without control; gradients flow
    state = network.closed_loop(x, y)        # under control: u_E, u_I, u_out, c

Needs PyTorch and NumPy and nothing else: copy this file along. Sections are the model page's.
Inputs are (batch, n_in), scaled as those that were learnt; labels y are (batch, n_out), softened as
there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

ITERATIONS = 100
"""At most, of Newton's method; some ten are usual."""


@dataclass
class State:
    """Potentials at rest; c is None without control."""

    u_E: list[Tensor]  # of each hidden layer, (batch, n)
    u_I: list[Tensor]
    u_out: Tensor  # (batch, n_out)
    c: Tensor | None = None


class Rate:
    """φ(u) = s log(1 + exp(k (u − m))) and its slope (section 1)."""

    def __init__(self, scale: float, sharpness: float, shift: float) -> None:
        self.s, self.k, self.m = scale, sharpness, shift

    def __call__(self, u: Tensor) -> Tensor:
        """φ(u)."""
        return self.s * softplus(self.k * (u - self.m), threshold=50.0)

    def slope(self, u: Tensor) -> Tensor:
        """φ'(u)."""
        return self.s * self.k * torch.sigmoid(self.k * (u - self.m))


class Network(torch.nn.Module):
    """Layers of excitatory and inhibitory units, a readout, and a controller."""

    def __init__(
        self, settings: dict[str, Any], weights: list[Any], biases: list[Any], readout: Any
    ) -> None:
        super().__init__()
        # Without biases they are 0, and whoever learns on leaves them so.
        self.weights, self.biases = (
            torch.nn.ParameterList(
                torch.nn.Parameter(torch.as_tensor(one), requires_grad=learns) for one in several
            )
            for several, learns in ((weights, True), (biases, settings.get("bias", True)))
        )
        self.readout = torch.nn.Parameter(torch.as_tensor(readout))
        self.settings = settings
        self.phi_E, self.phi_I = (
            Rate(**settings[name]) for name in ("activation_E", "activation_I")
        )

    def forward(self, x: Tensor) -> Tensor:
        """Outputs u_out at rest without control."""
        return self.open_loop(x).u_out

    def open_loop(self, x: Tensor) -> State:
        """State at rest without control (sections 2 and 6)."""
        state, r = State([], [], x), x
        for W, b in zip(self.weights, self.biases, strict=True):
            a = r @ W + b
            # Backprop's is a plain network, without inhibitory units.
            u_E = a if self.settings["rule"] == "backprop" else self._neuron(a, torch.zeros_like(a))
            r = self.phi_E(u_E)
            state.u_E.append(u_E)
            state.u_I.append(torch.zeros_like(a) if self.settings["rule"] == "backprop" else r)
        state.u_out = r @ self.readout
        return state

    def _neuron(self, a: Tensor, q: Tensor) -> Tensor:
        """u_E of u_E + φ_I(φ_E(u_E) − q) = a (section 6)."""

        def step(u: Tensor) -> Tensor:
            u_I = self.phi_E(u) - q
            return (u + self.phi_I(u_I) - a) / (1 + self.phi_I.slope(u_I) * self.phi_E.slope(u))

        with torch.no_grad():
            # The left side rises with u, faster than u itself: the root lies between.
            low, high = a - self.phi_I(self.phi_E(a) - q), a.clone()
            u = low
            for _ in range(ITERATIONS):
                residual = u + self.phi_I(self.phi_E(u) - q) - a
                low, high = torch.where(residual > 0, low, u), torch.where(residual > 0, u, high)
                new = u - step(u)
                new = torch.where((new >= low) & (new <= high), new, (low + high) / 2)
                eps = torch.finfo(u.dtype).eps
                if torch.allclose(new, u, rtol=4 * eps, atol=eps):
                    break
                u = new
        # One step more, that autograd sees: its derivative is that of the root.
        return u - step(u)

    # Under control.

    def feedback_weights(self, state: State) -> list[Tensor]:
        """Q^l at the open loop's state, (batch or 1, n_out, n) each (section 4)."""
        feedback = self.settings["feedback"]
        J, Q = self.readout.T, list[Tensor]()
        for l in reversed(range(len(self.weights))):
            J = J * self.phi_E.slope(state.u_E[l])[:, None, :]
            Q.insert(0, J * self.phi_I.slope(state.u_I[l])[:, None, :])
            J = J @ self.weights[l].T
        if feedback["average"]:
            Q = [Q_l.mean(dim=0, keepdim=True) for Q_l in Q]
        if feedback.get("clip") is not None:
            Q = [Q_l.clamp(-feedback["clip"], feedback["clip"]) for Q_l in Q]
        if feedback["normalize"]:
            norms = [Q_l.norm(dim=(-2, -1), keepdim=True) for Q_l in Q]
            Q = [
                feedback["norm"] * Q_l / torch.where(norm > 0, norm, torch.ones_like(norm))
                for Q_l, norm in zip(Q, norms, strict=True)
            ]
        return Q

    def target(self, u_out: Tensor, y: Tensor) -> Tensor:
        """What the controller aims at, of the open loop's outputs (section 3)."""
        feedback = self.settings["feedback"]
        if feedback["strong"]:
            return y
        nudged = u_out + feedback["nudge"] * self._error(u_out, y)
        return nudged if self.settings["loss"] == "mse" else nudged.softmax(dim=-1)

    def _error(self, u_out: Tensor, target: Tensor) -> Tensor:
        return target - (u_out if self.settings["loss"] == "mse" else u_out.softmax(dim=-1))

    @torch.no_grad()
    def closed_loop(self, x: Tensor, y: Tensor) -> State:
        """State at rest under control: Newton's method on c = κ e(u_out(c)) (section 6).

        A RuntimeError says that it was not found for some samples.
        """
        if self.settings["rule"] == "backprop":
            raise RuntimeError("a network trained by backprop has no controller")
        controller = self.settings["controller"]
        kappa = controller["k_p"] + controller["k_i"] / controller["leak"]
        start = self.open_loop(x)
        Q, target = self.feedback_weights(start), self.target(start.u_out, y)
        c = torch.zeros_like(start.u_out)
        identity = torch.eye(c.shape[-1], dtype=c.dtype, device=c.device)
        best = torch.full(c.shape[:1], torch.inf, dtype=c.dtype, device=c.device)
        step, share = torch.zeros_like(c), torch.ones_like(best)
        for _ in range(ITERATIONS):
            state, D = self._controlled(x, Q, c)
            residual = c - kappa * self._error(state.u_out, target)
            size = residual.norm(dim=-1)
            # What made it worse is taken back by half.
            worse = size > best
            share = torch.where(worse, share / 2, torch.ones_like(share))
            if self.settings["loss"] == "mse":
                S = identity.expand(len(c), -1, -1)
            else:
                p = state.u_out.softmax(dim=-1)
                S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
            # Rows: dF = dc (I + κ D S), so that the step solves with the transpose.
            matrix = (identity + kappa * D @ S).transpose(-2, -1)
            new = torch.linalg.solve(matrix, residual)
            before = step * share[:, None]
            c = torch.where(worse[:, None], c + before, c - new)
            step = torch.where(worse[:, None], before, new)
            best = torch.where(worse, best, size)
            scale = c.norm(dim=-1) + torch.finfo(c.dtype).tiny
            if (new.norm(dim=-1) <= 16 * torch.finfo(c.dtype).eps * scale).all():
                break
        else:
            small = new.norm(dim=-1) <= 1e3 * torch.finfo(c.dtype).eps * scale
            if not small.all():
                raise RuntimeError(f"no end state of {int((~small).sum())} samples was found")
        state, _ = self._controlled(x, Q, c)
        return State(state.u_E, state.u_I, state.u_out, c)

    def _controlled(self, x: Tensor, Q: list[Tensor], c: Tensor) -> tuple[State, Tensor]:
        """State at rest under a constant c, and D = ∂u_out/∂c, (batch, n_out, n_out)."""
        state, r, dr = State([], [], x, c), x, None
        for W, b, Q_l in zip(self.weights, self.biases, Q, strict=True):
            a, q = r @ W + b, (c[:, None, :] @ Q_l)[:, 0, :]
            u_E = self._neuron(a, q)
            u_I = self.phi_E(u_E) - q
            slope_E, slope_I = self.phi_E.slope(u_E)[:, None, :], self.phi_I.slope(u_I)[:, None, :]
            da = 0 if dr is None else dr @ W
            dr = slope_E * (da + slope_I * Q_l) / (1 + slope_I * slope_E)
            r = self.phi_E(u_E)
            state.u_E.append(u_E)
            state.u_I.append(u_I)
        assert dr is not None
        to_readout = float(self.settings["feedback"]["to_readout"])
        state.u_out = r @ self.readout + to_readout * c
        D = dr @ self.readout + to_readout * torch.eye(c.shape[-1], dtype=c.dtype, device=c.device)
        return state, D


def load(path: str) -> Network:
    """Load what `disinhib export` has written."""
    with np.load(path, allow_pickle=False) as file:
        settings = json.loads(str(file["settings"]))
        n = len(settings["hidden"])
        weights, biases = ([file[f"{name}_{l}"] for l in range(n)] for name in ("weight", "bias"))
        return Network(settings, weights, biases, file["readout"])
