"""What mistake gives a port's integers: the usual ones of hardware, each made and compared.

A mistake is a way to compute (`Making`). It is tried where the port first differs, from what the
port had right before it: one tick, or one stage. What gives the port's integers there is then made
from the start, and has to give every integer that the port gave up to the end of that stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..refimpl import (
    ConfigurationError,
    Learner,
    NetworkConfiguration,
    NetworkState,
    Parameters,
    map_arrays,
)
from ..refimpl.integers import (
    NORMALIZATIONS,
    ROUNDINGS,
    SITES,
    Chance,
    Chip,
    Format,
    Here,
    Multiplier,
    Table,
    chip_of,
    random_bits,
    shifted,
    tick,
)
from .integer_making import (
    Arrays,
    Control,
    Given,
    Making,
    all_stages,
    control_of,
    learner_after,
    named_states,
    single_stage,
    stages_of,
    start_of,
    ticks_of_stage,
    with_stage,
)

# Which mistake it is.


@dataclass(frozen=True)
class Asked:
    """A trace, of which `answers` are by path, and a chip that would give them."""

    chip: Chip
    initial: Learner
    inputs: np.ndarray
    targets: np.ndarray
    answers: Arrays


def mistakes_that_give(asked: Asked, found: Arrays, array: str, tick_number: int) -> Iterator[str]:
    """In words, the mistakes that give what was found, and not what was to be.

    Parameters
    ----------
    asked : Asked
        The trace.
    found : dict of array
        What a port gave, by path; what it left out is not compared.
    array : str
        Path of the array that differs first.
    tick_number : int
        The tick, from 1; 0 where there are none.
    """
    path = array.rpartition("/")[0]
    place = _Place.of(asked, path, tick_number)
    for words, made in MISTAKES.items():
        try:
            making = made(asked.chip)
            if making is None or not _gives_here(making, place, found):
                continue
        except (ConfigurationError, IndexError):
            # Another arithmetic may not be possible for this network.
            continue
        if _gives_all(making, asked, found, path):
            yield words


@dataclass(frozen=True)
class _Place:
    """Where a port first differs, and what it had until then."""

    path: str
    stage: str
    number: int
    tick_number: int
    given: Given
    before: NetworkState | None  # the tick
    right: Arrays  # of the stage

    @staticmethod
    def of(asked: Asked, path: str, tick_number: int) -> _Place:
        network, answers = asked.chip.network, asked.answers
        _, step, stage = path.split("/")
        number, L = int(step), network.n_hidden

        def stage_of(n: int, name: str) -> Arrays:
            head = f"steps/{n:04d}/{name}/"
            return {k.removeprefix(head): a for k, a in answers.items() if k.startswith(head)}

        learner = asked.initial
        for n in range(number):
            given = Given(learner, asked.inputs[n], asked.targets[n], r_bar=learner.mean_inhibition)
            if "mean_inhibition" in stages_of(network):
                given = with_stage(given, "mean_inhibition", stage_of(n, "mean_inhibition"), L)
            learner = learner_after(given, stage_of(n, "parameters"), L)
        given = Given(
            learner, asked.inputs[number], asked.targets[number], r_bar=learner.mean_inhibition
        )
        for name in stages_of(network):
            if name == stage:
                break
            given = with_stage(given, name, stage_of(number, name), L)
        right, before = stage_of(number, stage), None
        if tick_number:
            before = start_of(stage, given)
            if tick_number > 1:
                until = {k: a[: tick_number - 1] for k, a in right.items()}
                ended = with_stage(given, stage, until, L)
                before = ended.opened if stage == "open_loop" else ended.closed
        return _Place(path, stage, number, tick_number, given, before, right)


def _gives_here(making: Making, place: _Place, found: Arrays) -> bool:
    """Whether a mistake gives what was found, from what was right until then."""
    here = making.here(place.given.learner.optimizer.n_steps)
    if place.before is None:
        made = single_stage(making, place.stage, place.given, here)
    else:
        control = control_of(place.stage, place.given)
        states = ticks_of_stage(
            making, place.stage, place.given.learner.parameters, place.given.x, place.before,
            control, here, place.tick_number - 1,
        )  # fmt: skip
        made = named_states([next(states)], with_z=place.stage == "closed_loop")
    differs = False
    for name, array in made.items():
        path = f"{place.path}/{name}"
        right = place.right[name]
        if place.tick_number:
            right = right[place.tick_number - 1][None]
        differs = differs or not np.array_equal(array, right)
        if path in found:
            given = found[path]
            given = given[place.tick_number - 1][None] if place.tick_number else given
            if not np.array_equal(array, given):
                return False
    return differs


def _gives_all(making: Making, asked: Asked, found: Arrays, last: str) -> bool:
    """Whether a mistake, made from the start, gives all that was found up to a stage's end."""
    for path, made in all_stages(making, asked.initial, asked.inputs, asked.targets):
        for name, array in made.items():
            given = found.get(f"{path}/{name}")
            if given is not None and not np.array_equal(given, array):
                return False
        if path == last:
            return True
    return True


# The mistakes.

Made = Callable[[Chip], Making | None]


def _other(chip: Chip, **changes: Any) -> Making | None:
    """Another arithmetic; None where it is the chip's own."""
    about = replace(chip.arithmetic, **changes)
    return None if about == chip.arithmetic else Making(chip_of(chip.network, about))


def _other_network(
    chip: Chip, change: Callable[[NetworkConfiguration], dict[str, Any]]
) -> Making | None:
    """Other settings of the model; a dictionary changes some of a part."""
    network = chip.network
    if network.rule == "backprop" and "rule" in change(network):
        # It has other stages.
        return None
    changes = {
        name: replace(getattr(network, name), **value) if isinstance(value, dict) else value
        for name, value in change(network).items()
    }
    other = replace(network, **changes)
    return None if other == network else Making(chip_of(other, chip.arithmetic))


class _Wraps(Here):
    """What does not fit wraps around."""

    def fitted(self, values: np.ndarray, form: Format, quantity: str) -> np.ndarray:
        """Keep the lower bits."""
        return _wrapped(values, form.width)


def _wrapped(values: np.ndarray, width: int) -> np.ndarray:
    half = 1 << (width - 1)
    return ((values + half) & ((1 << width) - 1)) - half


class _Grows(Here):
    """What does not fit is kept as it is."""

    def fitted(self, values: np.ndarray, form: Format, quantity: str) -> np.ndarray:
        """Keep all bits."""
        return values


class _IsSymmetric(Here):
    """The smallest integer is the opposite of the largest."""

    def fitted(self, values: np.ndarray, form: Format, quantity: str) -> np.ndarray:
        """Saturate to it."""
        return np.maximum(super().fitted(values, form, quantity), -form.largest)


def _accumulator(width: int, wraps: bool) -> type[Here]:
    class Accumulates(Here):
        def accumulated(self, sums: np.ndarray, _: int) -> np.ndarray:
            limit = 1 << (width - 1)
            return _wrapped(sums, width) if wraps else np.clip(sums, -limit, limit - 1)

    return Accumulates


def _logical(bits: int) -> type[Here]:
    class ShiftsLogically(Here):
        """The sign is not kept by a shift to the right."""

        def dropped(
            self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
        ) -> np.ndarray:
            """Shift as an unsigned word is."""
            down = np.maximum(shift, 0)
            if bits < 64:
                moved = (values & ((1 << bits) - 1)) >> down
            else:
                unsigned = values.astype(np.uint64) >> np.asarray(down, dtype=np.uint64)
                moved = unsigned.astype(np.int64)
            right = super().dropped(values, shift, rounding, place, layer)
            return np.where((values < 0) & (np.asarray(shift) > 0), moved, right)

    return ShiftsLogically


def _rounds(sites: tuple[str, ...], way: str) -> type[Here]:
    class RoundsThere(Here):
        def dropped(
            self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
        ) -> np.ndarray:
            used = way if place in sites else rounding
            return super().dropped(values, shift, used, place, layer)

    return RoundsThere


class _RoundsHalfUp(Here):
    """Half a last bit is added, whatever the sign."""

    def dropped(
        self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
    ) -> np.ndarray:
        """Round what is to be rounded to the nearest."""
        if not rounding.startswith("nearest"):
            return super().dropped(values, shift, rounding, place, layer)
        down = np.clip(np.asarray(shift, dtype=np.int64), 0, 62)
        half = (np.int64(1) << down) >> 1
        exact = shifted(values, np.minimum(shift, 0), "floor")
        return (exact + half) >> down


Bits = Callable[[Chance, int, np.ndarray], np.ndarray]


def _by_bits(bits_of: Bits) -> type[Here]:
    """Stochastic rounding by other bits, of (chance, site, values): 32 of them a value."""

    class TakesOtherBits(Here):
        def dropped(
            self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
        ) -> np.ndarray:
            if rounding != "stochastic":
                return super().dropped(values, shift, rounding, place, layer)
            down = np.clip(np.asarray(shift, dtype=np.int64), 0, 62)
            exact = shifted(values, np.minimum(shift, 0), "floor")
            bits = bits_of(self.chance, 64 * SITES.index(place) + layer, values).astype(np.int64)
            return (exact + ((bits.reshape(values.shape) << 30) >> (62 - down))) >> down

    return TakesOtherBits


def _index_from_one(chance: Chance, site: int, values: np.ndarray) -> np.ndarray:
    return random_bits(chance, site, values.size + 1)[1:]


def _index_of_unit(chance: Chance, site: int, values: np.ndarray) -> np.ndarray:
    each = values.size // len(values)
    return np.tile(random_bits(chance, site, each), len(values))


def _low_bits(chance: Chance, site: int, values: np.ndarray) -> np.ndarray:
    """The lowest sixteen in the place of the highest."""
    return random_bits(chance, site, values.size) << np.uint32(16)


def _signed_hash(chance: Chance, site: int, values: np.ndarray) -> np.ndarray:
    """Words are signed, so that a shift to the right keeps their sign."""

    def mixed(words: np.ndarray) -> np.ndarray:
        words = words ^ (words >> np.int32(16))
        words = words * np.int32(0x7FEB352D)
        words = words ^ (words >> np.int32(15))
        words = words * np.uint32(0x846CA68B).astype(np.int32)
        return words ^ (words >> np.int32(16))

    word = np.zeros(1, dtype=np.int32)
    for part in (chance.seed, chance.step, site, chance.tick):
        word = mixed(word ^ np.array([part & 0xFFFFFFFF], dtype=np.uint32).astype(np.int32))
    return mixed(np.arange(values.size, dtype=np.int32) ^ word).astype(np.uint32)


def _by_chance(change: Callable[[Chance, int], tuple[Chance, int]]) -> type[Here]:
    """Random bits of another place in the run, of (chance, site)."""

    class TakesOtherBits(Here):
        def dropped(
            self, values: np.ndarray, shift: Any, rounding: str, place: str, layer: int
        ) -> np.ndarray:
            chance, site = change(self.chance, 64 * SITES.index(place) + layer)
            return shifted(values, shift, rounding, chance, site)

    return TakesOtherBits


def _rounds_products(chip: Chip, bits: int, way: str | None = None) -> Making | None:
    """Each product rounded before the sum, to as many bits less."""
    if bits < 1 or max(chip.network.sizes) > 4096:
        return None

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        products = a[..., :, None] * b
        return np.sum(shifted(products, bits, way or chip.arithmetic.rounding), axis=-2) << bits

    return Making(replace(chip, multiply=multiply))


def _rounds_products_to(chip: Chip, quantity: str, way: str | None) -> Making | None:
    """To the bits after the point of a quantity; of the first layer's inputs or of rates alike."""
    about = chip.arithmetic
    return _rounds_products(
        chip, about.rate.fraction + about.weight.fraction - about.format_of(quantity).fraction, way
    )


def _tables(chip: Chip, change: Callable[[Table], Table], *names: str) -> Making:
    """All tables, or some, are others."""
    every = names or tuple(item.name for item in dataclasses.fields(chip.tables))
    changed = {name: change(getattr(chip.tables, name)) for name in every}
    return Making(replace(chip, tables=replace(chip.tables, **changed)))


def _one_up(table: Table) -> Table:
    return replace(table, entries=np.append(table.entries[1:], table.entries[-1]))


def _one_down(table: Table) -> Table:
    return replace(table, entries=np.insert(table.entries[:-1], 0, table.entries[0]))


def _not_interpolated(table: Table) -> Table:
    return replace(table, interpolates=False)


def _interpolated(table: Table) -> Table:
    return replace(table, interpolates=True)


FROM_BEFORE = " from before"


def _in_order(
    chip: Chip,
    parameters: Parameters,
    a_1: Any,
    state: NetworkState,
    control: Control,
    here: Here,
    *,
    moves: tuple[str, ...],
) -> NetworkState:
    """Parts of the state move one after the other, each seeing those that have moved.

    A part is u_E, u_I, u_out, z; what is from before has seen nothing of it, and moves at the end.
    Layers move from below, each layer's u_E and u_I at once, or one after the other.
    """
    now, last = state, dict[str, Any]()
    for move in moves:
        if move.startswith("layers") or move == "u_E from below":
            parts = {"layers": ["u_E+u_I"], "layers in place": ["u_E", "u_I"]}.get(move, ["u_E"])
            for l, part in ((l, part) for l in range(len(state.u_E)) for part in parts):
                new = tick(chip, parameters, a_1, now, control, here)
                now = _with_layer(now, new, l, part.split("+"))
        elif move.endswith(FROM_BEFORE):
            new = tick(chip, parameters, a_1, state, control, here)
            last = {part: getattr(new, part) for part in move.removesuffix(FROM_BEFORE).split("+")}
        else:
            new = tick(chip, parameters, a_1, now, control, here)
            now = replace(now, **{part: getattr(new, part) for part in move.split("+")})
    return replace(now, **last)


def _with_layer(now: NetworkState, new: NetworkState, layer: int, parts: list[str]) -> NetworkState:
    """Take over one layer's potentials, of one population or both."""
    changed: dict[str, Any] = {}
    for part in parts:
        potentials = list(getattr(now, part))
        potentials[layer] = getattr(new, part)[layer]
        changed[part] = tuple(potentials)
    return replace(now, **changed)


def _with_control_added(
    chip: Chip,
    parameters: Parameters,
    a_1: Any,
    state: NetworkState,
    control: Control,
    here: Here,
) -> NetworkState:
    """−Q for Q in a tick, which others have as it should be."""
    if control is not None:
        control = tuple(-Q_l for Q_l in control[0]), control[1]
    return tick(chip, parameters, a_1, state, control, here)


def _ticked(chip: Chip, *moves: str) -> Making:
    return Making(chip, ticked=partial(_in_order, moves=moves))


def _output_fastest(Q: np.ndarray) -> np.ndarray:
    return np.swapaxes(Q, 1, 2).reshape(Q.shape)


def _transposed(parameters: Parameters) -> Parameters:
    def turned(W: np.ndarray) -> np.ndarray:
        return W.ravel().reshape(W.shape, order="F") if W.ndim == 2 else W

    return map_arrays(turned, parameters)


def _without_biases(parameters: Parameters) -> Parameters:
    return replace(parameters, biases=tuple(0 * b for b in parameters.biases))


def _swapped(first: str, second: str, chip: Chip) -> Making | None:
    about = chip.arithmetic
    return _other(chip, **{first: getattr(about, second), second: getattr(about, first)})


def _shift_by(name: str, n: int, chip: Chip) -> Making | None:
    shift = getattr(chip.arithmetic, name) + n
    return None if shift < 0 else _other(chip, **{name: shift})


def _kind(kind: type[Here], chip: Chip) -> Making:
    return Making(chip, kind=kind)


PLACES = {
    "tables": ("rate_E", "rate_I", "slope_E", "slope_I", "offset", "gain", "exponential",
               "reciprocal", "inverse_root"),
    "states": ("u_E", "u_I", "u_out", "integral"),
}  # fmt: skip
"""Sites that are usually written as one function."""


def _mistakes() -> Iterator[tuple[str, Made]]:
    for way in ROUNDINGS:
        yield (
            f"rounded by {way}, where the trace's rounding is another",
            partial(_other, rounding=way),
        )
    yield (
        "rounded half up, n + half a last bit: nearest-even and nearest-away do otherwise at ties",
        partial(_kind, _RoundsHalfUp),
    )
    for way in ROUNDINGS:
        yield (
            f"updates are rounded by {way}, where update_rounding is another",
            partial(_other, update_rounding=way),
        )
    for names, sites in (*PLACES.items(), *((site, (site,)) for site in SITES)):
        for way in ROUNDINGS[:-1]:
            yield (
                f"{names}: rounded by {way} there, where the trace's rounding is another",
                partial(_kind, _rounds(sites, way)),
            )
    yield "what does not fit wraps around: it is to saturate", partial(_kind, _Wraps)
    yield (
        "what does not fit is kept: it is to saturate to its format",
        partial(_kind, _Grows),
    )
    yield (
        "the smallest integer is left out: −2^(width − 1) is to be had",
        partial(_kind, _IsSymmetric),
    )
    yield (
        "sums of products are kept as they are: they are to saturate to the accumulator",
        partial(_kind, _accumulator(62, wraps=False)),
    )
    for width in (16, 18, 20, 22, 24, 26, 28, 32, 40, 48):
        for wraps, what in ((False, "saturate at"), (True, "wrap around in")):
            yield (
                f"sums of products {what} {width} bits: the accumulator has another width, or is "
                "to saturate",
                partial(_kind, _accumulator(width, wraps)),
            )
    ways: tuple[str | None, ...] = (None, "floor", "truncate")
    for one_by_one in ways:
        rounding = f", by {one_by_one}" if one_by_one else ""
        for quantity in ("weight", "rate", "potential"):
            yield (
                f"products are rounded one by one{rounding}, to the bits of {quantity}: the sum is "
                "exact, and rounded once",
                partial(_rounds_products_to, quantity=quantity, way=one_by_one),
            )
        for bits in (8, 16):
            yield (
                f"products are rounded one by one{rounding}, by {bits} bits: the sum is exact, and "
                "rounded once",
                partial(_rounds_products, bits=bits, way=one_by_one),
            )
    tables: list[tuple[str, tuple[str, ...]]] = [
        ("", ()),
        *((f" ({name})", (name,)) for name in PLACES["tables"]),
    ]
    for where, looked_up in tables:
        for change, words in (
            (_one_up, "tables are off by one entry: the next is read"),
            (_one_down, "tables are off by one entry: the one before is read"),
            (
                _not_interpolated,
                "tables are not interpolated: they are to be, between their entries",
            ),
            (
                _interpolated,
                "tables are interpolated: without it entries are as they stand",
            ),
        ):
            yield f"{words}{where}", partial(_changed_tables, change, looked_up)
    for bits in (16, 32, 64):
        yield (
            f"a shift of {bits}-bit words to the right is logical: it is to keep the sign",
            partial(_kind, _logical(bits)),
        )
    for moves, words in (
        (("u_E", "u_I+u_out+z"), "u_E is updated before I units and readout have seen it"),
        (("u_E", "u_I", "u_out", "z"), "u_E, u_I, u_out and z are updated one after the other"),
        (("u_E from below", "u_I+u_out+z"), "u_E is updated layer by layer, I units after it"),
        (("u_E", "u_I", "u_out+z from before"), "u_I is updated after u_E has moved"),
        (
            ("u_E from below", "u_I+u_out+z from before"),
            "u_E is updated layer by layer, all else of what was before",
        ),
        (
            ("layers in place", "u_out+z from before"),
            "layers are updated one by one, u_E before u_I, the readout of what was before",
        ),
        (
            ("layers in place", "u_out+z"),
            "layers are updated one by one, u_E before u_I, the readout after them",
        ),
        (
            ("layers in place", "u_out", "z"),
            "layers are updated one by one, u_E before u_I, then the readout, and then z",
        ),
        (("layers", "u_out+z"), "layers are updated one by one, the readout after them"),
        (("layers", "u_out", "z"), "layers are updated one by one, then the readout, and then z"),
        (("z", "u_E+u_I+u_out"), "z is updated before control acts"),
        (("z", "layers", "u_out"), "z and then the layers are updated one after the other"),
        (("u_out", "u_E+u_I+z"), "u_out is updated before control has seen it"),
        (("u_E+u_I", "u_out+z"), "the readout sees layers that have moved"),
        (("u_I", "u_E+u_out+z"), "u_I is updated before u_E has seen it"),
    ):
        yield f"{words}: all move at once", partial(_moved_in_order, moves)
    for first, second in (("shift_E", "shift_I"), ("shift_E", "shift_c"), ("shift_I", "shift_c")):
        yield f"{first} and {second} are exchanged", partial(_swapped, first, second)
    for name in ("shift_E", "shift_I", "shift_c"):
        for n, by in ((1, "one too many"), (-1, "one too few")):
            yield f"{name} is {by}", partial(_shift_by, name, n)
    for way in NORMALIZATIONS:
        yield f"normalization is {way}", partial(_other, normalization=way)
    yield from _of_chance()
    yield from _of_the_model()


def _changed_tables(
    change: Callable[[Table], Table], names: tuple[str, ...], chip: Chip
) -> Making | None:
    return _tables(chip, change, *names)


def _moved_in_order(moves: tuple[str, ...], chip: Chip) -> Making:
    return _ticked(chip, *moves)


def _of_chance() -> Iterator[tuple[str, Made]]:
    yield "seed is taken for 0", partial(_other, seed=0)
    changes: tuple[tuple[str, Callable[[Chance, int], tuple[Chance, int]]], ...] = (
        ("ticks of random bits count from 0: from 1", lambda c, s: (_at(c, max(c.tick - 1, 0)), s)),
        ("random bits have no tick", lambda c, s: (_at(c, 0), s)),
        (
            "learning steps of random bits count from 1: from 0",
            lambda c, s: (replace(c, step=c.step + 1), s),
        ),
        ("random bits have no step", lambda c, s: (replace(c, step=0), s)),
        ("sites of random bits have no layer", lambda c, s: (c, s - s % 64)),
        ("layers of random bits count from 1: from 0", lambda c, s: (c, s + 1)),
        (
            "biases have the random bits of weights: 32 is added to their layer",
            lambda c, s: (c, s - 32 if s % 64 >= 32 else s),
        ),
        ("sites of random bits count from 1: from 0", lambda c, s: (c, s + 64)),
        ("seed is one too many", lambda c, s: (replace(c, seed=c.seed + 1), s)),
    )
    for words, change in changes:
        yield words, partial(_kind, _by_chance(change))
    yield "ticks of random bits begin anew under control: they go on", _ticks_anew
    others: tuple[tuple[str, Bits], ...] = (
        ("values are counted from 1 for random bits: from 0", _index_from_one),
        ("values are counted anew in each sample for random bits: through all", _index_of_unit),
        ("the low bits of random words are taken: the high ones", _low_bits),
        ("shifts to the right in the mixer of random bits keep the sign: words have none",
         _signed_hash),
    )  # fmt: skip
    for words, bits_of in others:
        yield words, partial(_kind, _by_bits(bits_of))


def _ticks_anew(chip: Chip) -> Making:
    n = chip.arithmetic.ticks

    def anew(chance: Chance, site: int) -> tuple[Chance, int]:
        return _at(chance, chance.tick - n if chance.tick > n else chance.tick), site

    return Making(chip, kind=_by_chance(anew))


def _at(chance: Chance, tick_number: int) -> Chance:
    return replace(chance, tick=tick_number)


def _of_the_model() -> Iterator[tuple[str, Made]]:
    changes: tuple[tuple[str, Callable[[NetworkConfiguration], dict[str, Any]]], ...] = (
        ("strong and weak feedback are exchanged",
         lambda n: {"feedback": {"strong": not n.feedback.strong}}),
        ("the other loss",
         lambda n: {"loss": "mse" if n.loss != "mse" else "softmax-cross-entropy"}),
        ("`+ c` drives the readout unless feedback.to_readout is off, and the reverse",
         lambda n: {"feedback": {"to_readout": not n.feedback.to_readout}}),
        ("Q is averaged over the batch where it is not to be, or the reverse",
         lambda n: {"feedback": {"average": not n.feedback.average}}),
        ("Q is not clipped", lambda n: {"feedback": {"clip": None}}),
        ("Q is not normalised", lambda n: {"feedback": {"normalize": False}}),
        ("k_p and k_i are exchanged",
         lambda n: {"controller": {"k_p": n.controller.k_i, "k_i": n.controller.k_p}}),
        ("the leak is left out: z takes e − leak z", lambda n: {"controller": {"leak": 0.0}}),
        ("φ_E and φ_I are exchanged",
         lambda n: {"activation_E": n.activation_I, "activation_I": n.activation_E}),
        ("the rule is exact-inverse", lambda n: {"rule": "exact-inverse"}),
        ("the tangent is at the running mean", lambda n: {"rule": "linear-threshold"}),
        ("the tangent is at mean_inhibition.fixed_point",
         lambda n: {"rule": "linear-threshold-fixed"}),
        ("the tangent is at mean_inhibition.init",
         lambda n: {"rule": "linear-threshold-fixed",
                    "mean_inhibition": {"fixed_point": n.mean_inhibition.init}}),
        ("biases are learnt where `bias` is false", lambda n: {"bias": True}),
    )  # fmt: skip
    for words, change in changes:
        yield words, partial(_other_settings, change)
    for name, words in (
        ("k_p", "k_p e"),
        ("k_i", "k_i z"),
        ("eta", "the update"),
        ("leak", "leak z"),
    ):
        yield f"the sign of {words}", partial(_constant_negated, name)
    yield "weights are read column-major", partial(_making, of_parameters=_transposed)
    yield "biases are left out", partial(_making, of_parameters=_without_biases)
    yield (
        "the sign of Q: c Q is taken from u_I",
        partial(_making, of_feedback=lambda Q: tuple(-one for one in Q)),
    )
    yield "c Q is added to u_I: it is taken away", partial(_making, ticked=_with_control_added)
    yield (
        "feedback weights are written with the output fastest: (batch, outputs, units)",
        partial(_making, of_feedback=lambda Q: tuple(map(_output_fastest, Q))),
    )
    yield "the sign of g", partial(_making, of_gradients=partial(map_arrays, np.negative))
    yield "r̄ takes in the batch after it was used: before", partial(_making, r_bar_is_late=True)


def _other_settings(
    change: Callable[[NetworkConfiguration], dict[str, Any]], chip: Chip
) -> Making | None:
    return _other_network(chip, change)


def _constant_negated(name: str, chip: Chip) -> Making:
    constant: Multiplier = getattr(chip, name)
    changed: dict[str, Any] = {name: Multiplier(-constant.m, constant.shift)}
    return Making(replace(chip, **changed))


def _making(chip: Chip, **how: Any) -> Making:
    return Making(chip, **how)


MISTAKES: dict[str, Made] = dict(_mistakes())
"""Usual mistakes in words, and how a port computes that makes one."""
