# %% [markdown]
"""# One synapse: figure 3

An excitatory neuron and the inhibitory one beside it, one input, one synapse. The page
`docs/synapse.md` has the same with sliders; `disinhib figure figure-3` draws the figure itself.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from disinhib.experiments.paper.plasticity_curves import (
    CLAMPED,
    TARGETS,
    LinearThreshold,
    circuit,
    isolated,
)

x = np.linspace(0, 13, 521)
line = LinearThreshold(theta=1.5, delta=1.5)

# %% [markdown]
"""## Under control

Dis-inhibition drives the neuron towards a target rate. Below it the synapse is potentiated, above
it depressed, though the rule is Hebbian.
"""

# %%
figure, axes = plt.subplots()
for target in TARGETS:
    curve = circuit(x, target)
    axes.plot(curve.rate, curve.dw, label=f"target {target:g}")
    print(f"target {target:g}: LTP turns into LTD at {curve.to_ltd()[0]:.2f}")
axes.axhline(0, color="black", linewidth=0.5)
axes.set(xlabel="postsynaptic rate", ylabel="weight change", ylim=(-30, 50))
axes.legend()
plt.show()

# %% [markdown]
"""## Without control

A synapse that reads its inhibition exactly does not change. One that reads it by a line has a
threshold.
"""

# %%
free = circuit(x, None, line)
print(f"LTD turns into LTP at {free.to_ltp()[0]:.2f}")
figure, axes = plt.subplots()
axes.plot(free.rate, free.dw, label="linear threshold")
axes.plot(free.rate, circuit(x, None).dw, label="exact inverse")
axes.set(xlabel="postsynaptic rate", ylabel="weight change")
axes.legend()
plt.show()

# %% [markdown]
"""## Clamped inhibition moves the threshold

It lies where the rate is θ + δ r_I.
"""

# %%
figure, axes = plt.subplots()
for r_I in CLAMPED:
    curve = isolated(np.linspace(0, 10, 401), r_I, line)
    axes.plot(curve.rate, curve.dw, label=f"inhibition {r_I:.2f}")
    print(f"threshold {curve.to_ltp()[0]:.2f}, θ + δ r_I = {line(r_I):.2f}")
axes.axhline(0, color="black", linewidth=0.5)
axes.set(xlabel="postsynaptic rate", ylabel="weight change")
axes.legend()
plt.show()
