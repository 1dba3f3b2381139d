r"""Heat-bath sweeps of 32 square lattices at once, each in one bit of a 32-bit word: multi-spin coding.

Neighbours are added by bitwise full adders. A random number per lattice and site is compared with a chance digit by
digit: bit l of the words $w_0, w_1, \ldots$ holds the binary digits of $u = \sum_k 2^{-1-k} w_k$ of lattice l, so that
every lattice has its own random numbers. From the last digit to the first, $u < p$ is
$b \leftarrow (\bar w_k \wedge b) \vee (p_k \wedge (\bar w_k \vee b))$.

The chance is $q_h = 1/(1 + e^{2|Kh|}) \le 1/2$, that of a spin against the side which the sum $h \ne 0$ of its
neighbours favours; at h = 0 the first digit decides like a coin. Both q have ``DIGITS`` = 24 binary digits (a uniform
float32 number has 23), so that their error is at most $2^{-25}$: beyond |K| = 2.2 no spin is drawn against all four
neighbours, and beyond |K| = 4.4 none against three of them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8, UInt32

from rgflow.samplers.threefry import Words, is_threefry, random_words
from rgflow.types import Key

LATTICES = 32
"""Lattices in a word."""

DIGITS = 24
"""Number of binary digits of random numbers and chances: as many as float32 holds."""

Packed = UInt32[Array, "words side side"]


def checkerboard(size: int) -> Bool[Array, "side side"]:
    r"""Returns the squares with $x + y$ even, shape (size, size): no two are neighbours on the periodic lattice.

    Raises ValueError for an odd size, where neighbours across the boundary have one colour.

    >>> checkerboard(2).tolist()
    [[True, False], [False, True]]
    """
    if size % 2:
        raise ValueError(f"size = {size}: a periodic checkerboard needs an even number of sites a side")
    return (jnp.arange(size)[:, None] + jnp.arange(size)[None, :]) % 2 == 0


def pack_lattices(spins: Int8[Array, "B side side"]) -> Packed:
    r"""Returns words whose bit l is set where lattice $32 w + l$ is up, $\sum_l 2^l (1 + s_{32w + l}) / 2$.

    Shape (B / 32, side, side), uint32. Raises ValueError unless B is a multiple of 32.

    >>> spins = jnp.ones((32, 2, 2), jnp.int8).at[1:].set(-1)
    >>> pack_lattices(spins).tolist()
    [[[1, 1], [1, 1]]]
    """
    if len(spins) % LATTICES:
        raise ValueError(f"spins = {len(spins)} lattices: must be a multiple of {LATTICES}")
    bits = (spins > 0).astype(jnp.uint32).reshape(-1, LATTICES, *spins.shape[1:])
    return jnp.sum(bits << _places(), axis=1, dtype=jnp.uint32)


def unpack_lattices(packed: Packed) -> Int8[Array, "B side side"]:
    r"""Returns the lattices that :func:`pack_lattices` packed, $s_{32w + l} = 2 b_l - 1$.

    Shape (32 words, side, side), int8.

    >>> unpack_lattices(jnp.full((1, 2, 2), 5, jnp.uint32))[:4, 0, 0].tolist()
    [1, -1, 1, -1]
    """
    bits = ((packed[:, None] >> _places()) & 1).astype(jnp.int8)
    return (2 * bits - 1).reshape(-1, *packed.shape[1:])


def _places() -> UInt32[Array, "1 lattices 1 1"]:
    return jnp.arange(LATTICES, dtype=jnp.uint32)[None, :, None, None]


def bits_below(
    words: UInt32[Array, "digits *shape"], chances: Float[Array, " chances"]
) -> UInt32[Array, "chances *shape"]:
    r"""Return, for every chance p, bits that are set where $u < p$, with u's binary digits in that bit of ``words``.

    The first word holds the first digit. For random words every bit is set with chance p, rounded to as many binary
    digits as there are words (1 to 24). Bits set for one chance are set for every larger one. Chances that round to 1
    have no such digits and are not allowed.

    >>> bits_below(jnp.array([0b1100, 0b1010], jnp.uint32), jnp.array([0.25, 0.75]))[:, None] & 0b1111
    Array([[1],
           [7]], dtype=uint32)
    """
    digits = _digits(chances, len(words))

    def compare(below: Array, place: tuple[Array, Array]) -> tuple[Array, None]:
        return _compare_digit(below, *place), None

    # With all digits in one expression instead of a loop, sweeps took 1.7 times as long on a CPU.
    none = jnp.zeros((len(chances), *words.shape[1:]), words.dtype)
    return jax.lax.scan(compare, none, (words, digits), reverse=True)[0]


def draw_below(key: Key, chances: Float[Array, " chances"], size: int) -> tuple[Words, UInt32[Array, "chances size"]]:
    r"""Returns $w_0$ and ``bits_below(w, chances)`` of the random words w = ``jax.random.bits(key, (DIGITS, size))``.

    Words are drawn where they are compared, digit by digit, and are never stored: on a CPU this takes a quarter of the
    time of the two separate steps.
    """
    if not is_threefry(key):
        words = jax.random.bits(key, (DIGITS, size), jnp.uint32)
        return words[0], bits_below(words, chances)
    digits = _digits(chances, DIGITS)

    def compare(carry: tuple[Array, Array], place: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        number, digit = place
        words = random_words(key, size, number * jnp.uint32(size))
        return (words, _compare_digit(carry[1], words, digit)), None

    none = jnp.zeros(size, jnp.uint32), jnp.zeros((len(chances), size), jnp.uint32)
    return jax.lax.scan(compare, none, (jnp.arange(DIGITS, dtype=jnp.uint32), digits), reverse=True)[0]


def _digits(chances: Float[Array, " chances"], number: int) -> UInt32[Array, "digits chances"]:
    """Returns the binary digits of chances, first digit first; a word has all bits set for a digit 1 and none for 0."""
    places = jnp.arange(number, 0, -1, dtype=jnp.uint32) - 1
    thresholds = jnp.round(chances * 2.0**number).astype(jnp.uint32)
    return -((thresholds[None, :] >> places[:, None]) & 1)


def _compare_digit(below: Array, word: Array, digit: Array) -> Array:
    others, digit = ~word[None], jnp.expand_dims(digit, range(1, below.ndim))
    return (others & below) | (digit & (others | below))


def heat_bath_sweep_packed(key: Key, packed: Packed, coupling: float | Float[Array, ""]) -> Packed:
    r"""Returns packed lattices, each spin drawn once from its conditional law, $p(s_i = 1 | h_i) = 1/(1 + e^{-2Kh_i})$.

    The even squares of the checkerboard are drawn first, then the odd ones. The coupling may be traced and of either
    sign. Raises ValueError for an odd size.
    """
    even = checkerboard(packed.shape[-1])[None]
    coupling = jnp.asarray(coupling, jnp.float32)
    chances = jax.nn.sigmoid(-2 * jnp.abs(coupling) * jnp.array([2.0, 4.0]))
    coin, against = draw_below(key, chances, packed.size)
    coin, against = coin.reshape(packed.shape), against.reshape(2, *packed.shape)
    # In an antiferromagnet the neighbours favour the other side.
    turned = jnp.where(coupling < 0, ~jnp.uint32(0), jnp.uint32(0))
    for colour in (even, ~even):
        packed = jnp.where(colour, turned ^ _drawn(packed, coin, *against), packed)
    return packed


def _drawn(packed: Packed, coin: Packed, against_two: Packed, against_four: Packed) -> Packed:
    """Returns new spins: the coin between two neighbours up and two down, else the majority unless drawn against it."""
    one, two, four = _count_neighbours(packed)
    majority = four | (two & one)
    against = (one & against_two) | (~one & ((two & coin) | (~two & against_four)))
    return majority ^ against


def _count_neighbours(packed: Packed) -> tuple[Packed, Packed, Packed]:
    """Returns the binary digits of the number of neighbours that are up: ones, twos and fours."""
    left, right, above, below = (jnp.roll(packed, step, axis) for axis in (-1, -2) for step in (1, -1))
    beside, over = left ^ right, above ^ below
    both_beside, both_over = left & right, above & below
    return beside ^ over, both_beside ^ both_over ^ (beside & over), both_beside & both_over
