"""How much memory a program needs, told from its shapes, before the minutes that its compilation may take.

The estimate is what a device certainly holds: inputs, states and records of all its runs, and the largest product of
matrices, factorisation, sort or convolution of one batch of runs. What the compiler may fuse away is not counted, so
that no program is refused which would fit; the compiler's own number, when it is there, is larger.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax

PRODUCTS = ("dot_general", "conv_general_dilated", "fft", "sort")
FACTORISATIONS = ("cholesky", "eigh", "eig", "svd", "qr", "geqrf", "lu", "triangular_solve")
MATERIALISED = {*PRODUCTS, *FACTORISATIONS}
"""Operations whose results no compiler fuses into what comes after them."""


def size_of(tree: Any) -> int:
    """Returns the bytes of all arrays of a tree, or of their shapes.

    Example:
        >>> size_of({"a": jax.ShapeDtypeStruct((3, 2), "float32")})
        24
    """
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yields the equations of a program, those of its loops, branches and calls among them."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for one in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(one, "jaxpr", one)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def largest_array(jaxpr: Any) -> int:
    """Returns the bytes of the largest array that some operation of a program must write to memory."""
    outputs = (e.outvars for e in _equations(jaxpr) if e.primitive.name in MATERIALISED)
    return max((size_of([variable.aval for variable in made]) for made in outputs), default=0)


def needed(traced: Any, arguments: Any, devices: int) -> int:
    """Returns the bytes that each of some devices needs for a traced program with these arguments (or their shapes).

    ``arguments`` and results are spread over the devices; the operations inside are those of one device.
    """
    # The state is donated: argument and result share its memory, and only the record comes to it.
    _, record = traced.out_info
    return (size_of(arguments) + size_of(record)) // devices + largest_array(traced.jaxpr.jaxpr)
