"""The scikit-learn classifier: scikit-learn's own checks, and the model's equations by hand."""

import copy
import doctest
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from disinhib import ArgumentError, BackendUnavailable, ConfigurationError
from disinhib.datasets import batch_order, random_generator
from disinhib.experiments.training import TrainingDiverged
from disinhib.refimpl import (
    RULES,
    NetworkConfiguration,
    Optimizer,
    Solver,
    initial_parameters,
    learning_step,
    new_learner,
)
from disinhib.validation import named_arrays

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from disinhib.experiments import classifier
from disinhib.experiments.classifier import (
    DisinhibitoryClassifier,
    epoch_batches,
    nearest_distribution,
)

SMALL = {"hidden": (7, 5), "epochs": 2, "batch_size": 10, "random_state": 3}
EXACT = {**SMALL, "dtype": "float64"}
# Wide and long enough to tell apart the clouds below, all of them.
LEARNS = {**SMALL, "hidden": (30,), "epochs": 40, "learning_rate": 0.01}


def task(n_samples=25, n_classes=3):
    """Clouds around a corner a class, so far apart that they can be told by any line between."""
    generator = np.random.default_rng(5)
    labels = np.arange(n_samples) % n_classes
    x = 4 * np.eye(4)[labels] + generator.uniform(-0.5, 0.5, (n_samples, 4))
    return x, labels


def same(one, other):
    """Two estimators that have learnt the same, bit for bit."""
    ours, theirs = (named_arrays(e.network_.learner().parameters) for e in (one, other))
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)


# What scikit-learn asks of a classifier.


@parametrize_with_checks([DisinhibitoryClassifier()])
def test_it_is_what_scikit_learn_takes_for_a_classifier(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        DisinhibitoryClassifier(loss="mse"),
        DisinhibitoryClassifier(rule="backprop", dtype="float64"),
        # Its products in float32 round a row by its place; the order of samples may not matter.
        DisinhibitoryClassifier(rule="linear-threshold", backend="numba", dtype="float64"),
        DisinhibitoryClassifier(
            (30, 20), batch_size=20, learning_rate=0.3, settings={"optimizer": {"name": "sgd"}}
        ),
    ]
)
def test_other_settings_are_one_as_well(estimator, check):
    check(estimator)


def test_its_example_is_true():
    found = doctest.DocTestFinder(recurse=False).find(
        DisinhibitoryClassifier, "DisinhibitoryClassifier"
    )
    (example,) = [one for one in found if one.examples]
    assert doctest.DocTestRunner().run(example).failed == 0


# What it learns.


def by_hand(rule, loss, x, labels, passes):
    """The learner and losses after passes, (samples' places, epoch) each, of the reference.

    Seed 3 and batches of at most 10, as in `EXACT`; the larger batches come first.
    """
    configuration = NetworkConfiguration(
        sizes=(4, 7, 5, 3), rule=rule, loss=loss, optimizer=Optimizer(learning_rate=0.01)
    )
    parameters = initial_parameters((4, 7, 5, 3), random_generator(3, "initial-parameters"))
    learner, y, losses = new_learner(configuration, parameters), np.full((len(x), 3), 0.005), []
    y[np.arange(len(x)), labels] = 0.99
    for places, epoch in passes:
        order = random_generator(3, "batch-order", epoch).permutation(len(places))
        total = 0.0
        for batch in np.array_split(places[order], -(-len(places) // 10)):
            learner, metrics = learning_step(configuration, Solver(), learner, x[batch], y[batch])
            total += float(metrics.loss) * len(batch)
        losses.append(total / len(places))
    return learner, losses


def assert_learnt(estimator, learner, losses):
    found, wanted = (
        named_arrays(one.parameters) for one in (estimator.network_.learner(), learner)
    )
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(estimator.loss_curve_, losses, rtol=1e-12)
    assert estimator.n_iter_ == len(losses)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "mse"])
def test_it_learns_by_the_steps_of_the_reference(rule, loss):
    x, labels = task()
    estimator = DisinhibitoryClassifier(**EXACT, rule=rule, loss=loss, learning_rate=0.01)
    everything = np.arange(25)
    wanted = by_hand(rule, loss, x, labels, [(everything, 0), (everything, 1)])
    assert_learnt(estimator.fit(x, labels), *wanted)


def test_partial_fit_is_an_epoch_of_the_samples_given():
    x, labels = task()
    halves = [np.arange(13), np.arange(13, 25)]
    estimator = DisinhibitoryClassifier(**EXACT, learning_rate=0.01)
    assert estimator.partial_fit(x[halves[0]], labels[halves[0]], [0, 1, 2]) is estimator
    estimator.partial_fit(x[halves[1]], labels[halves[1]])
    passes = [(halves[0], 0), (halves[1], 1)]
    assert_learnt(estimator, *by_hand("exact-inverse", "softmax-cross-entropy", x, labels, passes))


def test_as_many_parts_as_epochs_are_fit():
    x, labels = task()
    whole, parts = (DisinhibitoryClassifier(**SMALL) for _ in range(2))
    whole.fit(x, labels)
    for _ in range(2):
        parts.partial_fit(x, labels, classes=[2, 0, 1])
    assert same(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_
    # And what is fitted goes on.
    assert same(whole.partial_fit(x, labels), parts.partial_fit(x, labels))


def test_fit_forgets():
    x, labels = task()
    once, again = (DisinhibitoryClassifier(**SMALL).fit(x, labels) for _ in range(2))
    again.fit(x[:20, :3], labels[:20]).fit(x, labels)
    assert same(once, again)
    assert once.loss_curve_ == again.loss_curve_


def test_settings_may_change_between_parts():
    x, labels = task()
    estimator = DisinhibitoryClassifier(**SMALL).fit(x, labels)
    before = copy.deepcopy(estimator)
    estimator.set_params(learning_rate=0.0).partial_fit(x, labels)
    assert same(estimator, before)
    for change, words in (
        ({"hidden": (7,)}, r"hidden is \(7,\): the network was begun with \(7, 5\)"),
        ({"bias": False}, "bias is False: the network was begun with True"),
        ({"settings": {"optimizer": {"name": "sgd"}}}, "optimizer.name is 'sgd': .* with 'adam'"),
    ):
        changed = copy.deepcopy(estimator).set_params(**change)
        with pytest.raises(ConfigurationError, match=words):
            changed.partial_fit(x, labels)


@given(
    n_samples=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    seed=st.integers(-5, 5),
    epoch=st.integers(0, 3),
)
def test_batches_hold_every_sample_once_and_are_as_few_and_as_equal_as_can_be(
    n_samples, batch_size, seed, epoch
):
    parts = epoch_batches(seed, epoch, n_samples, batch_size)
    batches = [batch for part in parts for batch in part]
    assert sorted(np.concatenate(batches)) == list(range(n_samples))
    lengths = [len(batch) for batch in batches]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1
    # One batch fewer would not hold them.
    assert (len(batches) - 1) * batch_size < n_samples
    if n_samples % batch_size == 0:
        (part,) = parts
        assert np.array_equal(part, batch_order(seed, epoch, n_samples, batch_size))


# What it says.


def outputs_by_hand(estimator, x):
    """At rest without control u_E = a − φ_I(φ_E(u_E)): solved by bisection; backprop: u = a."""
    parameters = estimator.network_.learner().parameters
    r = x
    for W, b in zip(parameters.weights, parameters.biases, strict=True):
        a = r @ W + b
        low, high = a - 50, a + 0.0
        for _ in range(0 if estimator.rule == "backprop" else 80):
            u = (low + high) / 2
            is_above = u + np.logaddexp(0, np.logaddexp(0, u)) > a
            low, high = np.where(is_above, low, u), np.where(is_above, u, high)
        r = np.logaddexp(0, high)
    return r @ parameters.readout


@pytest.mark.parametrize("rule", ["exact-inverse", "backprop"])
def test_outputs_are_those_of_the_equations(rule, monkeypatch):
    # So that outputs come in parts, the last of which is smaller.
    monkeypatch.setattr(classifier, "AT_ONCE", 10)
    x, labels = task()
    estimator = DisinhibitoryClassifier(**EXACT, rule=rule).fit(x, labels)
    u_out = outputs_by_hand(estimator, x)
    np.testing.assert_allclose(estimator.decision_function(x), u_out, rtol=0, atol=1e-9)
    assert np.array_equal(estimator.predict(x), np.argmax(u_out, axis=1))
    odds = np.exp(u_out)
    proba = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimator.predict_proba(x), proba, rtol=0, atol=1e-9)


def test_of_two_classes_the_decision_is_one_number():
    x, labels = task(n_classes=2)
    estimator = DisinhibitoryClassifier(**{**LEARNS, "dtype": "float64"}).fit(x, labels)
    u_out = outputs_by_hand(estimator, x)
    decision = estimator.decision_function(x)
    np.testing.assert_allclose(decision, u_out[:, 1] - u_out[:, 0], rtol=0, atol=1e-9)
    assert np.array_equal(estimator.predict(x), decision > 0)
    assert np.array_equal(estimator.predict(x), labels)


@given(arrays(np.float64, st.tuples(st.just(1), st.integers(2, 6)), elements=st.floats(-1e3, 1e3)))
def test_the_nearest_distribution_is_the_nearest(u):
    """By the conditions of its optimum: u − p is t where p is above 0, and no more elsewhere."""
    p = nearest_distribution(u)
    assert np.all(p >= 0)
    assert p.sum() == pytest.approx(1, abs=1e-9)
    t = (u - p)[p > 0]
    assert np.ptp(t) < 1e-9
    assert np.all(u[p == 0] <= t.max() + 1e-9)


def test_probabilities_of_mse_are_the_nearest_to_its_outputs():
    x, labels = task()
    estimator = DisinhibitoryClassifier(**{**EXACT, "epochs": 10}, loss="mse").fit(x, labels)
    proba, u_out = estimator.predict_proba(x), outputs_by_hand(estimator, x)
    np.testing.assert_allclose(proba, nearest_distribution(u_out), rtol=0, atol=1e-9)
    assert np.array_equal(estimator.classes_[proba.argmax(axis=1)], estimator.predict(x))


@pytest.mark.parametrize("names", [["b", "c", "a"], [2.0, -1.0, 7.0], [10, -3, 4]])
def test_labels_are_whatever_they_are(names):
    x, labels = task()
    estimator = DisinhibitoryClassifier(**LEARNS)
    y = np.array(names)[labels]
    estimator.fit(x, y)
    assert estimator.classes_.tolist() == sorted(names)
    assert estimator.predict(x).dtype == y.dtype
    assert np.array_equal(estimator.predict(x), y)
    assert estimator.score(x, y) == 1
    assert np.array_equal(
        estimator.predict_proba(x).argmax(axis=1), np.argsort(names).argsort()[labels]
    )


def test_truth_values_are_labels():
    x, labels = task(n_classes=2)
    estimator = DisinhibitoryClassifier(**LEARNS).fit(x, labels == 1)
    assert estimator.predict(x).dtype == bool
    assert np.array_equal(estimator.predict(x), labels == 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax-cross-entropy", "mse"])
def test_everything_is_of_the_network_s_precision(dtype, loss):
    x, labels = task(4)
    estimator = DisinhibitoryClassifier(**{**SMALL, "dtype": dtype}, loss=loss).fit(x, labels)
    assert estimator.decision_function(x).dtype == dtype
    assert estimator.predict_proba(x).dtype == dtype
    assert estimator.network_.dtype == dtype


# Seeds.


@pytest.mark.parametrize("seed", [0, 1, -7, 2**100, np.int64(4)])
def test_a_seed_is_a_fit(seed):
    x, labels = task()
    one, again = (
        DisinhibitoryClassifier(**{**SMALL, "random_state": seed}).fit(x, labels) for _ in range(2)
    )
    other = DisinhibitoryClassifier(**{**SMALL, "random_state": int(seed) + 1}).fit(x, labels)
    assert same(one, again)
    assert one.loss_curve_ == again.loss_curve_
    assert one.seed_ == seed
    assert not same(one, other)


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_a_generator_gives_seeds(kind):
    x, labels = task()
    estimator = DisinhibitoryClassifier(**{**SMALL, "random_state": kind(0)})
    # scikit-learn's clone has the generator's state.
    copied, first = clone(estimator), copy.deepcopy(estimator.fit(x, labels))
    assert same(first, copied.fit(x, labels))
    assert not same(first, estimator.fit(x, labels))


def test_no_seed_is_one_of_the_system_s_by_which_the_fit_can_be_repeated():
    x, labels = task()
    seeds = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        estimator = DisinhibitoryClassifier(**{**SMALL, "random_state": None}).fit(x, labels)
        assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
        seeds.append(estimator.seed_)
        again = DisinhibitoryClassifier(**{**SMALL, "random_state": estimator.seed_})
        assert same(estimator, again.fit(x, labels))
    assert seeds[0] != seeds[1]


# In scikit-learn's hands.


def test_a_search_in_two_processes_finds_what_one_finds():
    x, labels = task(30)
    tried = {"hidden": [(6,), (8, 4)], "learning_rate": np.array([1e-4, 3e-2])}
    found = [
        GridSearchCV(
            DisinhibitoryClassifier(**{**SMALL, "epochs": 5}),
            tried,
            cv=3,
            n_jobs=n_jobs,
            scoring="neg_log_loss",
            error_score="raise",
        ).fit(x, labels)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in found)
    assert np.array_equal(one, two)
    assert same(*(search.best_estimator_ for search in found))
    # Fifteen steps at a rate of 1e-4 move hardly anything.
    assert found[0].best_params_["learning_rate"] == 3e-2


def test_a_pipeline_scales_for_it():
    x, labels = task(30)
    far = make_pipeline(StandardScaler(), DisinhibitoryClassifier(**LEARNS))
    assert cross_val_score(far, 1e6 + 1e3 * x, labels, cv=3).tolist() == [1, 1, 1]


def test_a_clone_is_unfitted_and_of_the_same_parameters():
    x, labels = task()
    settings = {"controller": {"k_p": 0.3}, "solver": {"method": "tsit5"}}
    estimator = DisinhibitoryClassifier(**{**SMALL, "epochs": 1}, settings=settings).fit(x, labels)
    cloned = clone(estimator)
    assert cloned.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        cloned.predict(x)
    assert same(cloned.fit(x, labels), estimator)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_a_copy_predicts_and_learns_on_alone(copied):
    x, labels = task()
    estimator = DisinhibitoryClassifier(**SMALL).fit(x, labels)
    other, before = copied(estimator), estimator.predict_proba(x)
    assert np.array_equal(other.predict_proba(x), before)
    other.partial_fit(x, labels)
    assert np.array_equal(estimator.predict_proba(x), before)
    assert estimator.n_iter_ == 2
    assert same(other, estimator.partial_fit(x, labels))
    assert other.loss_curve_ == estimator.loss_curve_


# Settings.


def test_settings_are_those_of_a_run():
    x, labels = task()
    settings = {
        "controller": {"k_p": 0.3},
        "optimizer": {"name": "sgd"},
        "solver": {"method": "euler"},
        "tau_I": 0.01,
        "threads": 1,
    }
    estimator = DisinhibitoryClassifier(**EXACT, learning_rate=0.5, settings=settings)
    network = estimator.fit(x, labels).network_
    assert network.configuration.controller.k_p == 0.3
    assert network.configuration.optimizer == Optimizer("sgd", learning_rate=0.5)
    assert network.configuration.tau_I == 0.01
    assert network.solver.method == "euler"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"hidden": ()}, r"DisinhibitoryClassifier: hidden is \(\): a list of at least 1"),
        ({"hidden": (10**9,)}, r"sizes .*1000000000.*GiB of memory are needed"),
        ({"hidden": (3, 0)}, r"hidden\[1\] is 0: must be at least 1"),
        ({"rule": "hebb"}, "rule is 'hebb': must be 'exact-inverse'"),
        ({"epochs": 0}, "epochs is 0: must be at least 1"),
        ({"batch_size": 1.5}, "batch_size is 1.5: a whole number is needed"),
        ({"learning_rate": -1}, "learning_rate is -1: must be at least 0"),
        ({"dtype": "float16"}, "dtype is 'float16': must be 'float32' or 'float64'"),
        ({"loss": "hinge"}, "loss is 'hinge': must be 'softmax-cross-entropy' or 'mse'"),
        ({"settings": [1]}, r"settings is \[1\]: a mapping is needed"),
        ({"settings": {"controler": {}}}, "'controler': did you mean 'controller'"),
        ({"settings": {"controller": {"kp": 1}}}, "controller: unknown key 'kp'"),
        ({"settings": {"rule": "backprop"}}, "rule is a parameter of its own: give rule="),
        ({"settings": {"seed": 1}}, "seed is a parameter of its own: give random_state="),
        ({"settings": {"optimizer": {"learning_rate": 1}}}, "give learning_rate="),
        ({"settings": {"optimizer": "adam"}}, "optimizer is 'adam': a mapping is needed"),
        ({"settings": {"dataset": "mnist"}}, "dataset is a setting of runs"),
        ({"random_state": "0"}, "random_state is '0': a whole number, a Generator"),
        ({"random_state": True}, "random_state is True"),
    ],
)
def test_wrong_parameters_are_refused_when_it_is_fitted(wrong, words):
    x, labels = task()
    estimator = DisinhibitoryClassifier(**{**SMALL, **wrong})
    with pytest.raises(ConfigurationError, match=words) as refused:
        estimator.fit(x, labels)
    assert len(str(refused.value).splitlines()) == 1


def test_an_unknown_backend_is_refused():
    with pytest.raises(BackendUnavailable, match="'abacus' is unknown: choose one of numpy"):
        DisinhibitoryClassifier(**SMALL, backend="abacus").fit(*task())


def test_wrong_classes_are_refused():
    x, labels = task()
    estimator = DisinhibitoryClassifier(**SMALL)
    with pytest.raises(ArgumentError, match=r"classes are \[1\]: one class is too few"):
        estimator.fit(x, np.ones(25, dtype=int))
    with pytest.raises(ArgumentError, match="classes is None: the first call"):
        estimator.partial_fit(x, labels)
    with pytest.raises(ArgumentError, match=r"y has 2: one of the classes \[0, 1\] is needed"):
        estimator.partial_fit(x, labels, classes=[0, 1])
    estimator.partial_fit(x, labels, classes=[0, 1, 2])
    with pytest.raises(ArgumentError, match=r"classes is \[0, 1, 5\]: the first call had"):
        estimator.partial_fit(x, labels, classes=[0, 1, 5])
    with pytest.raises(ArgumentError, match="y has 'a': one of the classes"):
        estimator.partial_fit(x, np.full(25, "a"))
    assert estimator.n_iter_ == 1


# Where there are no numbers.


@pytest.mark.parametrize("rule", ["exact-inverse", "backprop"])
def test_divergence_is_said_and_leaves_nothing_that_predicts(rule):
    x, labels = task()
    wild = {"rule": rule, "learning_rate": 1e30, "settings": {"optimizer": {"name": "sgd"}}}
    estimator = DisinhibitoryClassifier(**SMALL, rule=rule).fit(x, labels)
    before = copy.deepcopy(estimator)
    estimator.set_params(**wild)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TrainingDiverged, match=r"not finite.*: try a lower learning_rate"):
            estimator.fit(x, labels)
        with pytest.raises(NotFittedError):
            estimator.predict(x)
        # A part that diverges takes nothing away.
        after = copy.deepcopy(before).set_params(learning_rate=1e38)
        with pytest.raises(TrainingDiverged):
            after.partial_fit(x, labels)
        assert same(after, before)


def test_a_sample_without_outputs_has_no_class():
    x, labels = task()
    estimator = DisinhibitoryClassifier(**SMALL).fit(x, labels)
    x[3] = x[7] = 3e38
    for method in (estimator.predict, estimator.predict_proba, estimator.decision_function):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ArgumentError, match=r"X: 2 of 25 samples .* sample 3 the first"):
                method(x)


def test_samples_that_do_not_come_to_rest_are_counted_in_a_warning():
    x, labels = task()
    hasty = {"solver": {"method": "tsit5", "horizon": 0.002}}
    estimator = DisinhibitoryClassifier(**SMALL, settings=hasty)
    # Two epochs of 25 samples, in open loop and under control.
    with pytest.warns(ConvergenceWarning, match="fitting: 100 of 100 end states") as warned:
        estimator.fit(x, labels)
    with pytest.warns(ConvergenceWarning, match="predicting: 25 of 25 end states") as told:
        estimator.predict(x)
    # Once, and of the line that called.
    assert [one.filename for one in (*warned, *told)] == [__file__, __file__]


# With scikit-learn and without.


def in_python(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_nothing_but_the_class_loads_scikit_learn():
    code = (
        "import sys, disinhib, disinhib.experiments\n"
        "disinhib.NetworkConfiguration, disinhib.experiments.train\n"
        "assert 'DisinhibitoryClassifier' in dir(disinhib)\n"
        "print('sklearn' in sys.modules)\n"
        "from disinhib import DisinhibitoryClassifier\n"
        "print('sklearn' in sys.modules)\n"
    )
    assert in_python(code).split() == ["False", "True"]


def test_without_scikit_learn_all_but_the_class_is_there():
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import disinhib\n"
        "from disinhib import *\n"
        "dir(disinhib)\n"
        "try: disinhib.DisinhibitoryClassifier\n"
        "except ImportError as problem: print(problem)\n"
    )
    (line,) = in_python(code).splitlines()
    assert "needs scikit-learn" in line
    assert line.endswith("pip install 'disinhib[sklearn]'")


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, "a"], "Mix of label input types"),
        (np.array([0, "a"], dtype=object), "Mix of label input types"),
        ([None, 1], "Unknown label type"),
        ([0.5, 1.0], "Unknown label type"),
        ([[0, 1]], r"classes has shape \(1, 2\): \(classes,\) is needed"),
    ],
)
def test_classes_that_are_none_are_refused_as_scikit_learn_does(classes, said):
    """Its own estimators raise ValueError of them, and in these words."""
    with pytest.raises(ValueError, match=said):
        DisinhibitoryClassifier(epochs=1).partial_fit(np.ones((2, 3)), [0, 1], classes=classes)
