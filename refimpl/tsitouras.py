"""Tsitouras 5(4), the published solver.

Ch. Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column
simplifying assumption, Computers & Mathematics with Applications 62 (2011) 770-775.
"""

from __future__ import annotations

from .runge_kutta import Tableau

TSITOURAS_54 = Tableau(
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.362295432869581),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (
            5.86145544294642,
            -12.92096931784711,
            8.159367898576159,
            -0.071584973281401,
            -0.02826905039406838,
        ),
        (
            0.09646076681806523,
            0.01,
            0.4798896504144996,
            1.379008574103742,
            -3.290069515436081,
            2.324710524099774,
        ),
    ),
    error=(
        0.0017800110522257716,
        0.0008164344596567469,
        -0.007880878010261995,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918697,
        -1 / 66,
    ),
    error_order=5,
)
"""Order 5, error estimate from the embedded method of order 4."""
