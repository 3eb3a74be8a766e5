"""The model in integers: what a chip would compute, bit for bit.

1. `arithmetic`: formats, rounding, saturation, constants; every setting, and named presets.
2. `tables`: what a chip looks up.
3. `circuit`: ticks of the dynamics, controller, softmax; the two end states.
4. `learning`: feedback weights, what synapses learn, their update; backprop beside it.

The page *The model in integers* defines all of it; these are its equations in NumPy.
"""

from .arithmetic import (
    INTERPOLATIONS,
    NORMALIZATIONS,
    PRESETS,
    QUANTITIES,
    ROUNDINGS,
    Arithmetic,
    Chance,
    Format,
    Multiplier,
    Overflows,
    arithmetic,
    multiplier,
    numbers,
    quantized,
    random_bits,
    saturated,
    shifted,
)
from .circuit import (
    SITES,
    Chip,
    Here,
    chip_of,
    closed_loop,
    closed_loop_target,
    drive,
    last,
    open_loop,
    resting_state,
    tick,
)
from .learning import (
    EndStates,
    Step,
    TickByTick,
    backprop,
    feedback_weights,
    forward,
    learning_step,
    plasticity_gradients,
    updated,
    updated_mean_inhibition,
)
from .tables import Table, Tables, looked_up, tables_of

__all__ = [
    "INTERPOLATIONS", "NORMALIZATIONS", "PRESETS", "QUANTITIES", "ROUNDINGS", "SITES",
    "Arithmetic", "Chance", "Chip", "EndStates", "Format", "Here", "Multiplier", "Overflows",
    "Step", "Table", "Tables", "TickByTick", "arithmetic", "backprop", "chip_of", "closed_loop",
    "closed_loop_target", "drive", "feedback_weights", "forward", "last", "learning_step",
    "looked_up", "multiplier", "numbers", "open_loop", "plasticity_gradients", "quantized",
    "random_bits", "resting_state", "saturated", "shifted", "tables_of", "tick", "updated",
    "updated_mean_inhibition",
]  # fmt: skip
