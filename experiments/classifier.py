"""A network as a scikit-learn classifier, for pipelines, searches and cross-validation.

First the estimator, then what it is made of. Loaded only when it is asked for: scikit-learn is an
extra.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backends import Backend, backend_class
from ..datasets import random_generator
from ..refimpl import (
    ArgumentError,
    ConfigurationError,
    EndStateCounts,
    Learner,
    initial_parameters,
    new_learner,
    open_loop_output,
    shown,
    softmax,
)
from ..validation import not_finite
from .training import (
    RunConfiguration,
    TrainingDiverged,
    refuse_more_than_memory,
    run_configuration,
    soft_labels,
)

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as problem:
    raise ImportError(
        f"DisinhibitoryClassifier needs scikit-learn, 1.6 or newer ({problem}): "
        "pip install 'disinhib[sklearn]'"
    ) from problem

AT_ONCE = 1000
"""Samples whose end states are found together."""


class DisinhibitoryClassifier(ClassifierMixin, BaseEstimator):
    """A deep network of microcircuits that learns by a Hebbian rule, as a scikit-learn classifier.

    Inputs are taken as they come. The published settings are for inputs between 0 and 1, and do
    as well with standardised ones: put a `MinMaxScaler` or `StandardScaler` before it in a
    `Pipeline`. Inputs that are larger by far are learnt badly, as `loss_curve_` shows, or not at
    all: where there are no numbers any more, `fit` raises TrainingDiverged.

    An epoch goes through all samples once, in an order of its own. They are cut into as few
    batches as `batch_size` allows, whose sizes differ by at most one: 250 samples at 100 are
    batches of 84, 83 and 83; 30 samples are one batch. Labels are softened as the published ones
    are: 0.99 on the class, the remainder shared by the others.

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer, from the inputs up.
    rule : {'exact-inverse', 'linear-threshold', 'linear-threshold-fixed', 'backprop'}
        What the synapse reads of its inhibition; 'backprop' is the baseline, a plain network of
        the same widths.
    epochs : int
        Passes of `fit` through the samples. It takes hundreds of learning steps to learn anything
        well, so that few samples need many epochs: 200, say, for the 150 of the irises.
    batch_size : int
        Most samples of a learning step.
    learning_rate : float
        η of the optimiser, which is Adam unless `settings` has another.
    backend : str
        Who computes: 'numpy', 'numba', 'cupy', or one that is installed besides. 'numpy', the
        reference, runs everywhere and at once, and takes seconds for a few thousand samples of some
        dozen inputs, and ten times as long for as many images of 28 × 28.
        'numba' is many times as fast; its first use on a machine compiles for half a minute, once
        for all processes (`disinhib warm-up` does it ahead). It takes all processors, so that
        where scikit-learn has several processes at work (`n_jobs`) it is best held to one:
        ``settings={"threads": 1}``.
    dtype : {'float32', 'float64'}
        Precision of the network, to which inputs are rounded, and of what it gives. In 'float32',
        half as costly, the last digit of an output may depend on the samples beside it, as matrix
        products round.
    loss : {'softmax-cross-entropy', 'mse'}
        What is learnt, and with it the controller's error.
    bias : bool
        Whether hidden layers have biases, which begin at 0 and learn.
    settings : mapping, optional
        All else that can be set of a network and its computing, as in a run's `config.toml`:
        ``{"controller": {"k_p": 0.3}, "solver": {"method": "tsit5"}, "threads": 1}``.
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        Seed of the initial parameters and of the order of samples. Any whole number is one, and
        gives the same network bit for bit with the same backend, the one that `disinhib train`
        begins with at this seed. From a generator a seed is drawn. None takes a seed of the
        system's, whatever `numpy.random.seed` was given.

    Attributes
    ----------
    classes_ : array, (classes,)
        Labels, sorted.
    network_ : Backend
        The network, at what it has learnt: ``network_.learner().parameters`` are its weights.
    seed_ : int
        With it as `random_state` the fit can be repeated.
    n_iter_ : int
        Epochs that were learnt.
    loss_curve_ : list of float
        Mean loss of each epoch, of every sample before the step that it is learnt in.
    n_features_in_ : int
        Inputs.
    feature_names_in_ : array of str, (inputs,)
        Their names, where all inputs of `fit` had some.

    Notes
    -----
    What is wrong is said in one line: of a parameter by ConfigurationError, of data by ValueError,
    and by BackendUnavailable of a backend that cannot run here.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from disinhib import DisinhibitoryClassifier
    >>> model = make_pipeline(StandardScaler(), DisinhibitoryClassifier(epochs=100, random_state=0))
    >>> model.fit(*load_iris(return_X_y=True)).predict([[5.1, 3.5, 1.4, 0.2]])
    array([0])
    """

    # What a fit leaves.
    classes_: np.ndarray
    network_: Backend
    seed_: int
    n_iter_: int
    loss_curve_: list[float]

    def __init__(
        self,
        hidden: Sequence[int] = (128,),
        rule: str = "exact-inverse",
        *,
        epochs: int = 20,
        batch_size: int = 100,
        learning_rate: float = 1e-3,
        backend: str = "numpy",
        dtype: str = "float32",
        loss: str = "softmax-cross-entropy",
        bias: bool = True,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.Generator | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.rule = rule
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.backend = backend
        self.dtype = dtype
        self.loss = loss
        self.bias = bias
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> DisinhibitoryClassifier:
        """Learn from new initial parameters; what was learnt before is forgotten, come what may.

        Parameters
        ----------
        X : array-like of float, (samples, inputs)
            Inputs.
        y : array-like, (samples,)
            Class of each: numbers or text; two classes at least.

        Returns
        -------
        DisinhibitoryClassifier
            Itself.

        Raises
        ------
        TrainingDiverged
            Loss or parameters are no longer numbers.

        Warns
        -----
        ConvergenceWarning
            Samples were integrated and did not come to rest.
        """
        for name in ("network_", "classes_", "seed_", "n_iter_", "loss_curve_"):
            self.__dict__.pop(name, None)
        configuration = self._configuration()
        X, y = self._checked(X, y, configuration, reset=True)
        return self._learn(X, y, np.unique(y), configuration, configuration.epochs)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> DisinhibitoryClassifier:
        """Learn one epoch of these samples, going on from what has been learnt.

        As many calls as `epochs`, all of the same samples, are `fit`, bit for bit. Settings may
        change from call to call, `learning_rate` for one; layers and optimiser may not. If it
        diverges, what was learnt before stands.

        Parameters
        ----------
        X : array-like of float, (samples, inputs)
            Inputs.
        y : array-like, (samples,)
            Class of each.
        classes : array-like, (classes,), optional
            All that there will be; needed in the first call.

        Returns
        -------
        DisinhibitoryClassifier
            Itself.

        Raises
        ------
        TrainingDiverged
            Loss or parameters are no longer numbers.

        Warns
        -----
        ConvergenceWarning
            Samples were integrated and did not come to rest.
        """
        is_first = not self.__sklearn_is_fitted__()
        if is_first and classes is None:
            raise ArgumentError("classes is None: the first call of partial_fit needs all classes")
        known = self.classes_ if classes is None else known_classes(classes)
        if not is_first and known.tolist() != self.classes_.tolist():
            raise ArgumentError(
                f"classes is {shown(known.tolist())}: the first call had "
                f"{shown(self.classes_.tolist())}, and there can be no others"
            )
        configuration = self._configuration()
        X, y = self._checked(X, y, configuration, reset=is_first)
        return self._learn(X, y, known, configuration, 1)

    def predict(self, X: Any) -> np.ndarray:
        """Class of each sample, that of the largest output without control.

        Parameters
        ----------
        X : array-like of float, (samples, inputs)
            Inputs.

        Returns
        -------
        array, (samples,)
            Of `classes_`.

        Raises
        ------
        ArgumentError
            An output is no number, as of a sample that has no end state.

        Warns
        -----
        ConvergenceWarning
            Samples were integrated and did not come to rest.
        """
        u_out = self._outputs(X)
        labels: np.ndarray = self.classes_[np.argmax(u_out, axis=1)]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class; raises and warns as `predict` does.

        For cross-entropy it is the softmax of the outputs, fitted to softened labels: hardly above
        0.99. For 'mse' no output is a probability: outputs are fitted to the labels themselves,
        and may lie outside 0 to 1. What is given is the distribution nearest to them (the
        projection onto the simplex), which orders the classes as they do and is not calibrated.

        Parameters
        ----------
        X : array-like of float, (samples, inputs)
            Inputs.

        Returns
        -------
        array of `dtype`, (samples, classes)
            In the order of `classes_`; rows sum to 1.
        """
        u_out = self._outputs(X)
        is_mse = self.network_.configuration.loss == "mse"
        return nearest_distribution(u_out) if is_mse else softmax(u_out)

    def decision_function(self, X: Any) -> np.ndarray:
        """Outputs u_out at rest without control (section 2); raises and warns as `predict` does.

        Parameters
        ----------
        X : array-like of float, (samples, inputs)
            Inputs.

        Returns
        -------
        array of `dtype`, (samples, classes), or (samples,)
            A column a class, in the order of `classes_`; of two classes, by how much the output
            of the second exceeds that of the first.
        """
        u_out = self._outputs(X)
        return u_out[:, 1] - u_out[:, 0] if len(self.classes_) == 2 else u_out

    def __sklearn_is_fitted__(self) -> bool:
        # Not by any attribute that ends in "_": a fit that fails leaves the number of inputs.
        return hasattr(self, "network_")

    def _configuration(self) -> RunConfiguration:
        """All settings as those of a run, which checks them."""
        settings = {} if self.settings is None else self.settings
        if not isinstance(settings, Mapping):
            raise ConfigurationError(f"settings is {shown(settings)}: a mapping is needed")
        refuse_settings_of_others(settings)
        optimizer = settings.get("optimizer", {})
        if not isinstance(optimizer, Mapping):
            raise ConfigurationError(
                f"settings: optimizer is {shown(optimizer)}: a mapping is needed"
            )
        own = {name: getattr(self, name) for name in OWN}
        optimizer = {**optimizer, "learning_rate": self.learning_rate}
        return run_configuration({**settings, **own, "optimizer": optimizer}, type(self).__name__)

    def _checked(
        self, X: Any, y: Any, configuration: RunConfiguration, reset: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        refuse_masked(X)
        X, y = validate_data(self, X, y, dtype=configuration.dtype, order="C", reset=reset)
        check_classification_targets(y)
        return X, y

    def _learn(
        self,
        X: np.ndarray,
        y: np.ndarray,
        classes: np.ndarray,
        configuration: RunConfiguration,
        epochs: int,
    ) -> DisinhibitoryClassifier:
        """Learn so many epochs in a new backend, which is taken over if all goes well."""
        if len(classes) < 2:
            raise ArgumentError(
                f"classes are {shown(classes.tolist())}: one class is too few, two are needed"
            )
        labels = soft_labels(configuration, class_numbers(y, classes), len(classes), X.dtype)
        sizes = (X.shape[1], *configuration.hidden, len(classes))
        most = min(configuration.batch_size, len(X))
        refuse_more_than_memory(sizes, most, configuration.dtype)
        if self.__sklearn_is_fitted__():
            seed, epoch, losses = self.seed_, self.n_iter_, self.loss_curve_
            learner: Learner | None = self.network_.learner()
            refuse_another_network(self.network_, sizes, configuration)
        else:
            seed, epoch, losses, learner = seed_of(self.random_state), 0, [], None
        backend = built(configuration, sizes, seed, learner)
        data, counts = backend.place(X, labels), EndStateCounts()
        for number in range(epoch, epoch + epochs):
            batches = epoch_batches(seed, number, len(X), configuration.batch_size)
            loss, of_epoch = learnt_epoch(backend, data, batches, number)
            losses, counts = [*losses, loss], counts + of_epoch
        warn_of_unsettled(counts, "fitting")
        self.network_, self.classes_, self.seed_ = backend, classes, seed
        self.n_iter_, self.loss_curve_ = epoch + epochs, losses
        return self

    def _outputs(self, X: Any) -> np.ndarray:
        """Outputs of each sample, (samples, classes), all of them numbers."""
        check_is_fitted(self)
        refuse_masked(X)
        X = validate_data(self, X, dtype=self.network_.dtype, order="C", reset=False)
        parts, counts = [], EndStateCounts()
        # Of outputs that are no numbers an error tells, once and with their place.
        with np.errstate(all="ignore"):
            for first in range(0, len(X), AT_ONCE):
                u_out, of_part = outputs(self.network_, X[first : first + AT_ONCE])
                parts.append(u_out)
                counts += of_part
        u_out = np.concatenate(parts)
        are_numbers = np.all(np.isfinite(u_out), axis=1)
        if not np.all(are_numbers):
            raise ArgumentError(
                f"X: {np.sum(~are_numbers)} of {len(X)} samples have outputs that are no numbers, "
                f"sample {np.argmin(are_numbers)} the first: inputs of the scale of those that "
                "were learnt are needed"
            )
        warn_of_unsettled(counts, "predicting")
        return u_out


# Settings and seeds.

OWN = ("hidden", "rule", "epochs", "batch_size", "backend", "dtype", "loss", "bias")
"""Settings of a run that are parameters by the same name."""
OF_THE_DATA = ("validation", "scale")
"""Of the section `data`, likewise."""
OF_A_RUN = ("dataset", "data_dir", "start", "schedule", "patience")
"""Settings of a run that an estimator, which is given its data, has not."""


def refuse_settings_of_others(settings: Mapping[str, Any]) -> None:
    """Refuse what is a parameter of its own, or of runs only; unknown keys are not judged here."""
    optimizer = settings.get("optimizer")
    named = {**dict.fromkeys(OWN), "seed": "random_state"}
    if isinstance(optimizer, Mapping) and "learning_rate" in optimizer:
        raise ConfigurationError(
            "settings: optimizer.learning_rate is a parameter of its own: give learning_rate=…"
        )
    of_data = settings.get("data")
    for key in of_data if isinstance(of_data, Mapping) else ():
        if key in OF_THE_DATA:
            raise ConfigurationError(
                f"settings: data.{key} is a setting of runs, and not of estimators"
            )
    for key in settings:
        if key in named:
            raise ConfigurationError(
                f"settings: {key} is a parameter of its own: give {named[key] or key}=…"
            )
        if key in OF_A_RUN:
            raise ConfigurationError(f"settings: {key} is a setting of runs, and not of estimators")


def refuse_masked(X: Any) -> None:
    """Refuse values that are masked, which NumPy would show."""
    if np.ma.is_masked(X):
        raise ArgumentError("X has masked values: numbers are needed")


def seed_of(random_state: Any) -> int:
    """Take a whole number as it is, and draw one of a generator or, of None, of the system."""
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**63, dtype=np.uint64))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return int(np.random.default_rng(random_state).integers(2**63))
    raise ConfigurationError(
        f"random_state is {shown(random_state)}: a whole number, a Generator, a RandomState or "
        "None is needed"
    )


# Learning and outputs.


def refuse_another_network(
    network: Backend, sizes: tuple[int, ...], configuration: RunConfiguration
) -> None:
    """Refuse to go on with other layers, or with an optimiser that remembers something else."""
    before, optimizer = network.configuration, configuration.optimizer
    for what, wanted, has in (
        ("hidden", sizes[1:-1], before.sizes[1:-1]),
        ("bias", configuration.bias, before.bias),
        ("settings: optimizer.name", optimizer.name, before.optimizer.name),
    ):
        if wanted != has:
            raise ConfigurationError(
                f"{what} is {shown(wanted)}: the network was begun with {shown(has)}, and only fit "
                "begins a new one"
            )


def known_classes(classes: Any) -> np.ndarray:
    """All classes that there will be, sorted; what no labels are, scikit-learn itself refuses."""
    if np.ndim(classes) != 1:
        raise ArgumentError(f"classes has shape {np.shape(classes)}: (classes,) is needed")
    try:
        known: np.ndarray = unique_labels(classes)
    except TypeError as problem:
        raise ValueError(f"Mix of label input types: {problem}") from problem
    return known


def class_numbers(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Place of each label among the classes, (samples,)."""
    places = {label: place for place, label in enumerate(classes.tolist())}
    labels = y.tolist()
    unknown = [label for label in labels if label not in places]
    if unknown:
        raise ArgumentError(
            f"y has {shown(unknown[0])}: one of the classes {shown(list(places))} is needed"
        )
    return np.array([places[label] for label in labels])


def built(
    configuration: RunConfiguration, sizes: tuple[int, ...], seed: int, learner: Learner | None
) -> Backend:
    """A backend that goes on from a learner, or begins where a run of this seed does."""
    network = configuration.network(sizes[0], sizes[-1])
    if learner is None:
        generator = random_generator(seed, "initial-parameters")
        learner = new_learner(network, initial_parameters(sizes, generator))
    backend = backend_class(configuration.backend)(
        network,
        learner.parameters,
        np.dtype(configuration.dtype),
        configuration.solver,
        threads=configuration.threads,
        **configuration.backend_options(),
    )
    backend.load(learner)
    return backend


def epoch_batches(seed: int, epoch: int, n_samples: int, batch_size: int) -> list[np.ndarray]:
    """Every sample once, in batches as few and as equal as can be.

    Arrays (steps, batch), each of one size of batch: where sizes differ, the larger come first.
    If `batch_size` divides the samples, these are the batches of a run with this seed.
    """
    permutation = random_generator(seed, "batch-order", epoch).permutation(n_samples)
    steps = -(-n_samples // batch_size)
    size, n_larger = divmod(n_samples, steps)
    larger, rest = np.split(permutation, [n_larger * (size + 1)])
    parts = (larger.reshape(n_larger, size + 1), rest.reshape(steps - n_larger, size))
    return [part for part in parts if part.size]


def learnt_epoch(
    backend: Backend, data: Any, batches: list[np.ndarray], epoch: int
) -> tuple[float, EndStateCounts]:
    """Learn from batches; their mean loss, and how end states were reached in both loops."""
    loss, n_samples, counts = 0.0, 0, EndStateCounts()
    # Of an overflow TrainingDiverged tells, once and with its place.
    with np.errstate(all="ignore"):
        for order in batches:
            metrics = backend.train(data, order)
            losses = [metrics.loss, metrics.closed_loop_loss]
            if backend.configuration.rule == "backprop":
                # It has no closed loop.
                losses.pop()
            if not np.all(np.isfinite(losses)):
                raise TrainingDiverged(f"the loss is not finite in epoch {epoch + 1}: {ADVICE}")
            loss += float(np.sum(metrics.loss)) * order.shape[1]
            n_samples += order.size
            counts += metrics.open_loop_counts + metrics.closed_loop_counts
    layers = not_finite(backend.learner())
    if layers:
        raise TrainingDiverged(
            f"these are not finite after epoch {epoch + 1}: {', '.join(layers)}: {ADVICE}"
        )
    return loss / n_samples, counts


ADVICE = "try a lower learning_rate, or scale the inputs, as by StandardScaler"


def outputs(backend: Backend, x: np.ndarray) -> tuple[np.ndarray, EndStateCounts]:
    """Outputs that a prediction is read from, (samples, classes), and how they were reached."""
    if backend.configuration.rule == "backprop":
        # Of the plain network: a backend's open loop is the microcircuit's, whatever the rule.
        parameters = backend.learner().parameters
        return open_loop_output(backend.configuration, backend.solver, parameters, x)
    state, counts = backend.open_loop(x)
    return state.u_out, counts


def warn_of_unsettled(counts: EndStateCounts, doing: str) -> None:
    """Warn, once, of samples that were integrated and did not come to rest."""
    if counts.unsettled:
        total = counts.frozen_newton + counts.fresh_newton + counts.integrated
        warnings.warn(
            f"{doing}: {counts.unsettled} of {total} end states were not reached: "
            "give settings a longer solver.horizon, or the solver.method 'fixed-point'",
            ConvergenceWarning,
            stacklevel=4,
        )


def nearest_distribution(u: np.ndarray) -> np.ndarray:
    """The point of the probability simplex nearest to each row, (samples, classes).

    It is max(u − t, 0) with the t for which rows sum to 1: of the k largest entries, whose number
    is the largest for which all of them exceed t, t is (their sum − 1) / k.
    """
    largest_first = -np.sort(-u, axis=1)
    k = np.arange(1, u.shape[1] + 1)
    t = ((np.cumsum(largest_first, axis=1) - 1) / k).astype(u.dtype)
    n_above = np.sum(largest_first > t, axis=1, keepdims=True)
    return np.maximum(u - np.take_along_axis(t, n_above - 1, axis=1), 0)
