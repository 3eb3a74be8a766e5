# %% [markdown]
"""# A first network

Three ways to learn the digits, side by side: the exact inverse, the linear threshold, and backprop.
The tutorial (`docs/tutorial.md`) explains each step. A cell is what stands between two lines that
begin with `# %%`: VS Code and Jupyter with jupytext open this file as a notebook; Python runs it.
"""

# %%
import matplotlib.pyplot as plt

import disinhib

RULES = ("exact-inverse", "linear-threshold", "backprop")
runs = {
    rule: disinhib.train(
        dataset="digits",
        rule=rule,
        hidden=[128],
        epochs=10,
        optimizer={"learning_rate": 0.005},
        out=f"runs/notebook-{rule}",
    )
    for rule in RULES
}

# %% [markdown]
"""How they learn. Validation chooses; the test set only tells."""

# %%
figure, axes = plt.subplots()
for rule, run in runs.items():
    axes.plot(run.metrics["epoch"], run.metrics["valid_accuracy"], label=rule)
axes.set(xlabel="epoch", ylabel="validation accuracy")
axes.legend()
plt.show()

# %%
for rule, run in runs.items():
    print(f"{rule}: {run.evaluate('test').accuracy:.1%} of the test set")

# %% [markdown]
"""Where the linear threshold errs: a row a class, a column a prediction."""

# %%
confusion = runs["linear-threshold"].evaluate("test").confusion
figure, axes = plt.subplots()
axes.imshow(confusion, cmap="Blues")
axes.set(xlabel="prediction", ylabel="class", xticks=range(10), yticks=range(10))
plt.show()
