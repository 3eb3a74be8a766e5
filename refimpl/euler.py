"""Explicit Euler, with the step of Heun's method to estimate its error.

Heun's slope ½ (k₁ + k₂) needs the derivative at the Euler step, which is the first
stage of the next step anyway, so that the estimate ½ dt (k₁ − k₂) is free
(Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, section II.4).
"""

from __future__ import annotations

from .runge_kutta import Tableau

EULER = Tableau(a=((1.0,),), error=(0.5, -0.5), error_order=2)
"""Order 1, error estimate of order 2."""
