"""What every submodule of a Flax network returned in one forward pass, in the order of the calls.

The network's own code is not changed. A linen module is read through `apply(capture_intermediates=...)`. An nnx
module is copied, and the `__call__` of its classes is wrapped for the time of one call. `nnx.capture` is not used: it
misses inherited `__call__` methods and returns the outputs in alphabetical order.
"""

import contextlib
import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

ROOT_NAME = "output"
"""Name of the root module's output; every other output is named by its path, such as `blocks/0/linear`."""

CALL, PLACE = "__call__", "place_in_network"
Outputs = list[tuple[str, Any]]


def flavour(network: object) -> str:
    """Returns "linen", "nnx" or "" for anything else, by the modules of the classes and without importing Flax."""
    homes = [f"{ancestor.__module__}." for ancestor in type(network).__mro__]
    return next((name for name in ("linen", "nnx") if any(h.startswith(f"flax.{name}.") for h in homes)), "")


def linen_outputs(network: Any, variables: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outputs:
    """Returns the names and array outputs of a linen module and all its submodules, in the order of the calls.

    A submodule under `nn.scan` is seen only where the scan has `variable_axes={"intermediates": 0}`; its stacked
    output then counts as one layer per step of the scan.
    """
    calls: list[tuple[str, ...]] = []

    def note(module: Any, method: str) -> bool:
        # The filter runs right after each call, so it knows the order, which the nested dict of outputs does not.
        if method == CALL:
            calls.append(module.path)
        return method == CALL

    _, state = network.apply(variables, *inputs, capture_intermediates=note, mutable=["intermediates"], **options)
    seen: Counter[tuple[str, ...]] = Counter()
    found: list[tuple[tuple[str, ...], Any]] = []
    lost: dict[str, None] = {}
    for path in calls:
        outputs = _at_path(state["intermediates"], path)
        if seen[path] < len(outputs):
            found.append((path, outputs[seen[path]]))
        elif not outputs:
            lost["/".join(path)] = None
        seen[path] += 1
    _warn_of_lost(lost)
    return numbered(_unstacked([(p, x) for p, x in found if is_layer(x)], np.shape(inputs[0])))


def _at_path(tree: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns the captured outputs of one module, one per call, or () where a transformation dropped them."""
    for part in path:
        tree = tree.get(part, {})
    return tuple(tree.get(CALL, ()))


def _unstacked(found: list[tuple[tuple[str, ...], Any]], batch: tuple[int, ...]) -> Outputs:
    """Returns outputs with those that a scan stacked, [L, *batch axes, D], split into L layers, step by step."""
    leading = (batch[:-1], batch)

    def stack_of(entry: tuple[tuple[str, ...], Any]) -> tuple[str, int]:
        path, shape = entry[0], np.shape(entry[1])
        stacked = shape[:-1] not in leading and shape[1:-1] in leading
        return (path[0] if path else "", shape[0] if stacked else 0)

    layers: Outputs = []
    for (_, length), group in groupby(found, key=stack_of):
        entries = [("/".join(path) or ROOT_NAME, array) for path, array in group]
        if length:
            entries = [(name, array[step]) for step in range(length) for name, array in entries]
        layers += entries
    return layers


@dataclasses.dataclass(frozen=True, eq=False)
class _Place:
    """Where a module is in its network. It is an attribute because transformations rebuild modules and keep those.

    No two places are equal, so that no program compiled in an earlier pass is used, in which no call would be seen.
    """

    name: str


def nnx_outputs(network: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outputs:
    """Returns the names and array outputs of an nnx module and all its submodules, in the order of the calls.

    The pass runs on a copy, so that batch statistics and dropout counts of the network stay as they are. Where a
    submodule runs inside `nnx.jit` or `nnx.scan` the pass is repeated step by step without jit.
    """
    if not options:
        _warn_of_training(network)
    outputs = _nnx_pass(network, inputs, options)
    if any(isinstance(x, Tracer) for _, x in outputs):
        with jax.disable_jit():
            outputs = _nnx_pass(network, inputs, options)
    _warn_of_lost(dict.fromkeys(name for name, x in outputs if isinstance(x, Tracer)))
    return numbered([(n, x) for n, x in outputs if is_layer(x) and not isinstance(x, Tracer)])


def _nnx_pass(network: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Outputs:
    from flax import nnx

    copy = nnx.clone(network)
    classes = set()
    for path, module in nnx.iter_modules(copy):
        setattr(module, PLACE, _Place("/".join(map(str, path)) or ROOT_NAME))
        classes.add(type(module))
    outputs: Outputs = []
    with _calls_recorded(classes, lambda module, x: outputs.append((getattr(module, PLACE).name, x))):
        copy(*inputs, **options)
    return outputs


@contextlib.contextmanager
def _calls_recorded(classes: set[type], record: Callable[[Any, Any], None]) -> Iterator[None]:
    """Calls `record` after every call of an instance of these classes, and restores the classes in the end."""
    originals = {c: method for c in classes if (method := _call_method(c)) is not None}
    own = {c: c.__dict__[CALL] for c in originals if CALL in c.__dict__}
    running: set[int] = set()

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            if id(self) in running:  # super().__call__(): a part of a call that is recorded already
                return original(self, *arguments, **options)
            running.add(id(self))
            try:
                result = original(self, *arguments, **options)
            finally:
                running.discard(id(self))
            record(self, result)
            return result

        return call

    for c, original in originals.items():
        setattr(c, CALL, recording(original))
    try:
        yield
    finally:
        for c in originals:
            if c in own:
                setattr(c, CALL, own[c])
            else:
                delattr(c, CALL)


def _call_method(c: type) -> Callable[..., Any] | None:
    # getattr(c, "__call__") would find the constructor of a class that cannot be called itself.
    return next((a.__dict__[CALL] for a in c.__mro__ if CALL in a.__dict__), None)


def is_layer(x: Any) -> bool:
    """Returns whether an output is an array of at least two axes."""
    return hasattr(x, "dtype") and np.ndim(x) >= 2


def numbered(outputs: Outputs) -> Outputs:
    """Returns the outputs; a name that occurs more than once gets numbers: `dense[0]`, `dense[1]`.

    >>> numbered([("a", 1), ("b", 2), ("a", 3)])
    [('a[0]', 1), ('b', 2), ('a[1]', 3)]
    """
    total, seen, unique = Counter(name for name, _ in outputs), Counter(), []
    for name, array in outputs:
        unique.append((f"{name}[{seen[name]}]" if total[name] > 1 else name, array))
        seen[name] += 1
    return unique


def _warn_of_training(network: Any) -> None:
    """Warns of dropout and batch statistics in training mode, where every pass would measure another network."""
    from flax import nnx

    off = {"deterministic": False, "use_running_average": False}
    modules = [("/".join(map(str, path)), module) for path, module in nnx.iter_modules(network)]
    training = [name for name, m in modules if any(getattr(m, key, None) is value for key, value in off.items())]
    if training:
        listed = ", ".join(repr(name) for name in training)
        warnings.warn(f"network: {listed} runs as in training; call network.eval() before measuring", stacklevel=5)


def _warn_of_lost(names: Mapping[str, None]) -> None:
    if names:
        listed = ", ".join(repr(name) for name in names)
        warnings.warn(f"network: {listed} ran inside a transformation that hides the outputs", stacklevel=5)
