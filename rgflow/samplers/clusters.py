r"""Connected components of open bonds on periodic square lattices, under jit and vmap.

The labels are found in two stages. In the first, inside tiles of at most 16 by 16 sites, the smallest site number
spreads along rows and columns, there and back, until nothing changes. All tiles are processed at once, as bytes in
vector registers; at the end the few slow tiles go on alone, which is 2.4 times faster. In the second, tiles are joined
along the bonds between them, an eighth of all bonds. Every end of such a bond holds a label; the root of a whole tree
of labels moves when the other end holds a smaller one (hooking), and paths are shortened (pointer jumping). This takes
a handful of rounds whatever the shape of the clusters. Without tiles, labelling took several times as long (64 lattices
of 64 x 64 on a CPU). All lattices of a batch, and of every vmap around it, are labelled as one graph: a loop and a
scatter with a batch axis cost four times as much on a CPU.
Key: SV1982 = Shiloach and Vishkin, J. Algorithms 3 (1982) 57.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, UInt8

LARGEST_SIDE = 16
"""Largest side of a tile in sites: its places fit a byte. Tiles of 8 x 8 are slower, with twice as many bonds."""

JUMPS = 3
"""Pointer jumps per round. At 64 x 64 three jumps take 3 or 4 rounds, two take 4 to 6, and four save none."""

SWEEPS = 4
"""Sweeps of labels through all tiles between two checks of which tiles are settled: a check costs half a sweep."""

SLOW_SHARE = 16
"""One tile in so many goes on without the others: most tiles need 8 sweeps, the worst of a thousand 20."""

LEAST_TILE = 16
"""Smallest number of sites of a tile. Where a side has no such divisor (17, 19, ...), single sites are joined."""

Marks = Bool[Array, "height width tiles"]


@jax.custom_batching.custom_vmap
def label_clusters(
    right: Bool[Array, "*batch rows cols"], down: Bool[Array, "*batch rows cols"]
) -> Int32[Array, "*batch rows cols"]:
    r"""Returns for each site the smallest number of all sites connected to it, $l_i = \min\{j : j \leftrightarrow i\}$.

    ``right`` and ``down`` say whether the bonds from a site to the next column and to the next row are open; both
    directions are periodic. Leading axes are a batch of lattices. Site numbers count through the whole batch: they
    index its flattened sites.

    Ref: SV1982.
    """
    rows, cols = right.shape[-2:]
    height, width = (max(side for side in range(1, LARGEST_SIDE + 1) if not number % side) for number in (rows, cols))
    if height * width < min(LEAST_TILE, rows * cols):
        return _label_sites(right, down)
    grid = (right.size // (rows * cols), rows // height, cols // width)

    def by_tile(sites: Array) -> Array:
        """Returns sites with rows and columns within the tile first, tiles last."""
        split = sites.reshape(grid[0], grid[1], height, grid[2], width)

        def row(number: Array) -> Array:
            line = jax.lax.dynamic_index_in_dim(split, number, axis=2, keepdims=False)
            return line.transpose(3, 0, 1, 2).reshape(width, -1)

        # In one expression the compiler would transpose anew for each of the many readers: hence a loop.
        return jax.lax.map(row, jnp.arange(height))

    # Both marks travel in one byte: half the transposing.
    marks = by_tile(right.astype(jnp.uint8) | (down.astype(jnp.uint8) << 1))
    across, below = (marks & 1) > 0, (marks & 2) > 0
    inside = _label_tiles(across, below)
    lattice, row, col = jnp.unravel_index(jnp.arange(inside.shape[-1], dtype=jnp.int32), grid)
    corner = (lattice * rows + row * height) * cols + col * width
    # The first site of a cluster within a tile is also the first one by the numbers of the lattice.
    sites = inside.astype(jnp.int32)
    sites = corner[None, None] + sites // width * cols + sites % width

    def beside(edge: Array, axis: int) -> Array:
        return jnp.roll(edge.reshape(-1, *grid), -1, axis).reshape(edge.shape)

    ends = jnp.concatenate([sites[:, -1], sites[-1]]).ravel()
    others = jnp.concatenate([beside(sites[:, 0], -1), beside(sites[0], -2)]).ravel()
    is_open = jnp.concatenate([across[:, -1], below[-1]]).ravel()
    joined = _join(jnp.stack([ends, jnp.where(is_open, others, ends)]), right.size)
    labels = joined.at[sites.ravel()].get(mode="promise_in_bounds")
    back = labels.reshape(height, width, *grid).transpose(2, 3, 0, 4, 1)
    return back.reshape(right.shape)


@label_clusters.def_vmap
def _label_batch(axis_size: int, in_batched: list[bool], right: Array, down: Array) -> tuple[Array, bool]:
    """Labels one more axis of lattices as one larger graph; site numbers then start anew in each of its entries."""
    right, down = (
        part if batched else jnp.broadcast_to(part, (axis_size, *part.shape))
        for part, batched in zip((right, down), in_batched, strict=True)
    )
    return label_clusters(right, down) % (right.size // axis_size), True


def _label_sites(right: Array, down: Array) -> Array:
    """Returns the labels with every site at the end of four bonds and no tiles."""
    start = jnp.arange(right.size, dtype=jnp.int32)
    bonds = (right, jnp.roll(right, 1, -1), down, jnp.roll(down, 1, -2))

    def seen_from(labels: Array) -> Array:
        smallest = labels = labels.reshape(right.shape)
        for is_open, step, axis in zip(bonds, (-1, 1, -1, 1), (-1, -1, -2, -2), strict=True):
            smallest = jnp.minimum(smallest, jnp.where(is_open, jnp.roll(labels, step, axis), labels))
        return smallest.ravel()

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, seen = carry
        moved = labels.at[labels].min(seen, mode="promise_in_bounds")
        for _ in range(2):
            moved = moved.at[moved].get(mode="promise_in_bounds")
        return moved, seen_from(moved)

    def unfinished(carry: tuple[Array, Array]) -> Array:
        return jnp.any(carry[0] != carry[1])

    return jax.lax.while_loop(unfinished, spread, (start, seen_from(start)))[0].reshape(right.shape)


def _label_tiles(right: Marks, down: Marks) -> UInt8[Array, "height width tiles"]:
    """Returns the smallest place within its tile that each site is connected to inside of the tile."""
    height, width, tiles = right.shape
    # A closed bond sets all bits: a label seen through it is never the smaller one.
    walls = [jnp.where(is_open, jnp.uint8(0), jnp.uint8(255)) for is_open in (right, down)]
    places = jnp.arange(height * width, dtype=jnp.uint8).reshape(height, width, 1)
    few = tiles // SLOW_SHARE
    labels, unsettled = _settle(jnp.broadcast_to(places, right.shape), walls, few)
    # Where fewer than ``few`` are left, the first tile fills the other places.
    slow = jnp.nonzero(unsettled, size=max(few, 1), fill_value=0)[0]
    settled, _ = _settle(labels[..., slow], [wall[..., slow] for wall in walls], 0)
    return labels.at[..., slow].set(settled)


def _settle(labels: Array, walls: list[Array], few: int) -> tuple[Array, Bool[Array, " tiles"]]:
    """Returns the labels spread until at most ``few`` tiles are unsettled, and which tiles those are."""

    def sweep(_: Array, labels: Array) -> Array:
        for wall, axis in zip(walls, (1, 0), strict=True):
            labels = _spread(labels, wall, axis)
        return labels

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels = jax.lax.fori_loop(0, SWEEPS, sweep, carry[0])
        return labels, _unsettled(labels, walls)

    start = (labels, jnp.ones(labels.shape[-1], bool))
    return jax.lax.while_loop(lambda carry: jnp.sum(carry[1]) > few, spread, start)


def _unsettled(labels: Array, walls: list[Array]) -> Bool[Array, " tiles"]:
    """Returns which tiles have an open bond between unlike labels."""
    across = (labels[:, :-1] ^ labels[:, 1:]) & ~walls[0][:, :-1]
    below = (labels[:-1] ^ labels[1:]) & ~walls[1][:-1]
    rest = jnp.concatenate([unlike.reshape(-1, unlike.shape[-1]) for unlike in (across, below)])
    # The rows are combined by halves: a reduction over the leading axis costs ten times as much on a CPU.
    while (number := rest.shape[0]) > 1:
        half = number // 2
        rest = jnp.concatenate([rest[:half] | rest[half : 2 * half], rest[2 * half :]])
    return jnp.any(rest > 0, axis=0)


def _spread(labels: Array, wall: Array, axis: int) -> Array:
    """Returns labels after smaller ones have spread along one axis, from its first line to its last one and back."""
    last = labels.shape[axis] - 1

    def line(values: Array, number: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(values, number, axis, keepdims=False)

    def put(labels: Array, values: Array, number: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(labels, values, number, axis)

    def ahead(step: Array, labels: Array) -> Array:
        passed = line(labels, step) | line(wall, step)
        return put(labels, jnp.minimum(line(labels, step + 1), passed), step + 1)

    def back(step: Array, labels: Array) -> Array:
        number = last - 1 - step
        passed = line(labels, number + 1) | line(wall, number)
        return put(labels, jnp.minimum(line(labels, number), passed), number)

    return jax.lax.fori_loop(0, last, back, jax.lax.fori_loop(0, last, ahead, labels))


def _join(ends: Int32[Array, "2 bonds"], size: int) -> Int32[Array, " size"]:
    """Returns the smallest site joined to each site that is an end of some bond, and the site itself elsewhere."""

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        table, labels = carry
        # The site that a label names is in the same cluster and has a label no larger: a site may take that label.
        seen = jnp.broadcast_to(labels.min(axis=0, keepdims=True), labels.shape)
        table = table.at[labels].min(seen, mode="promise_in_bounds")
        # A loop keeps the jumps apart: in one fused expression each jump would repeat all earlier ones.
        jump = lambda _, labels: table.at[labels].get(mode="promise_in_bounds")  # noqa: E731
        return table, jax.lax.fori_loop(0, JUMPS, jump, labels)

    def unfinished(carry: tuple[Array, Array]) -> Array:
        return jnp.any(carry[1][0] != carry[1][1])

    table, labels = jax.lax.while_loop(unfinished, spread, (jnp.arange(size, dtype=jnp.int32), ends))
    return table.at[ends].min(labels, mode="promise_in_bounds")
