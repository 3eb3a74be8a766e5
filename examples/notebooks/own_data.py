# %% [markdown]
"""# Own data, with scikit-learn

`disinhib.DisinhibitoryClassifier` in a pipeline and in a grid search. Needs `pip install
'.[sklearn]'`. More in `docs/how-to/scikit-learn.md`.
"""

# %%
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import disinhib

x, y = load_wine(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, stratify=y, random_state=0)

# %% [markdown]
"""Inputs had best lie between 0 and 1: so a scaler comes first, fitted to the training part."""

# %%
network = disinhib.DisinhibitoryClassifier(
    hidden=(32,), epochs=60, batch_size=20, learning_rate=0.005, random_state=0
)
pipeline = make_pipeline(MinMaxScaler(), network)

# %% [markdown]
"""Which rule, and how many units? Three folds of the training part say."""

# %%
grid = {
    "disinhibitoryclassifier__rule": ["exact-inverse", "linear-threshold"],
    "disinhibitoryclassifier__hidden": [(16,), (32,)],
}
search = GridSearchCV(pipeline, grid, cv=3)
search.fit(x, y)
print(search.best_params_)

# %% [markdown]
"""The test part has not been looked at until now."""

# %%
print(f"{search.score(x_test, y_test):.1%} of the test part")
