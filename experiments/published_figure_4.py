"""What the published run of figure 4 printed, for comparison.

From the output kept in `notebooks/Figure 4.ipynb` of github.com/fmi-basel/disinhibitory-control
(seed 2; Tsitouras 5(4) at rtol 1e-3 in single precision), by training epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Printed:
    """Of one rule, in the epochs listed.

    Parameters
    ----------
    epochs : array of int, (n,)
        Training epochs, counted from 0.
    open_loop_mse, control_cost : array, (n,)
        As `Course` has them.
    """

    epochs: np.ndarray
    open_loop_mse: np.ndarray
    control_cost: np.ndarray


_EPOCHS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59])

PRINTED = {
    "linear-threshold": Printed(
        _EPOCHS,
        np.array(
            [
                *(5.264478, 1.5288918, 0.40197185, 0.08338577, 0.034455735, 0.036256824),
                *(0.017446216, 0.009882145, 0.013240991),
                *(0.0022482849, 0.0078717675, 0.0026421382, 0.0020503323, 0.0042231944),
                *(0.0031552766, 0.0023563295, 0.0021084158, 0.0022970946, 0.0023051226),
                *(0.0016454085, 0.0024180203, 0.0014332049),
            ]
        ),
        np.array(
            [
                *(82.98541, 46.06329, 32.34796, 35.42065, 28.30481, 35.201298, 32.222694),
                *(24.002752, 29.842937, 7.6678724, 23.17245, 9.644203, 7.111653, 11.641614),
                *(12.54819, 9.031395, 11.454344, 7.439664, 8.680688, 5.677426, 9.239791),
                7.9643216,
            ]
        ),
    ),
    "exact-inverse": Printed(
        _EPOCHS,
        np.array(
            [
                *(5.264478, 2.9760065, 1.6316317, 0.70705044, 0.3614552, 0.22125536),
                *(0.10380677, 0.058052476, 0.040836748),
                *(0.0041299774, 0.012517019, 0.0046539586, 0.004027646, 0.006738095),
                *(0.0054130643, 0.003778749, 0.003290375, 0.0046065454, 0.005032514),
                *(0.0031517143, 0.004034292, 0.0029323017),
            ]
        ),
        np.array(
            [
                *(86.86559, 57.8122, 47.076866, 45.544342, 31.107737, 38.120228, 36.82704),
                *(30.642311, 35.369793, 10.984397, 34.000057, 12.195984, 10.309206, 14.528125),
                *(15.185344, 13.640756, 14.648328, 10.135722, 12.748427, 8.780663, 12.867696),
                11.295608,
            ]
        ),
    ),
}
"""Called 'approx' and 'exact' there."""
