"""The claims of this room and where each is judged, by the system that decides it.

* ``lattice``: S3-lattice and S3-yardstick, :mod:`~rgflow.variational_rg.claims_lattice`.
* ``small``: S3-a and S3-b, :mod:`~rgflow.variational_rg.claims_mapping`.
* ``stack``: S3-c, S3-d and S3-model for each strength of the penalty and coupling,
  :mod:`~rgflow.variational_rg.claims_stack`.
"""

import functools

from rgflow.protocol import Claim
from rgflow.variational_rg import claims_lattice, claims_mapping, claims_stack

CHECK = "our check of the tools"

CLAIMS = (
    Claim(
        "S3-lattice",
        CHECK,
        "The sampled lattices have the exact energy of the periodic square lattice.",
        f"the mean energy within {claims_lattice.SIGMAS:g} standard errors of Kaufman's, known to "
        f"{100 * claims_lattice.PRECISION:g} %; shown is u/u_exact - 1",
        "the runs of the study 'lattice'",
        claims_lattice.energies,
    ),
    Claim(
        "S3-yardstick",
        CHECK,
        "The Monte Carlo RG of the majority rule recovers the thermal exponent y_t = 1 at the critical point.",
        f"|y_t - 1| below {claims_lattice.YARDSTICK_BOUND:g}, from level {claims_lattice.YARDSTICK_LEVEL} (0 is the "
        f"finest step) with {claims_lattice.YARDSTICK_OPERATORS} even operators",
        "the runs of the study 'lattice'",
        claims_lattice.yardstick,
    ),
    Claim(
        "S3-a",
        "mehta2014",
        "With T = -E + H a machine's hidden Hamiltonian is that of a variational RG step, trained or not.",
        f"largest deviation of four identities below {claims_mapping.ROUNDING:g}; shown is its log10, over all "
        "machines",
        "the runs of the study 'small'",
        claims_mapping.identity,
    ),
    Claim(
        "S3-b",
        "mehta2014",
        "The free-energy gap vanishes if and only if the RG step is exact.",
        f"relative entropy of machines with Delta F = 0 below {claims_mapping.EXACT:g} nats; shown are mean, least "
        "and largest",
        "the runs of the study 'small'",
        claims_mapping.gap_means_exact,
    ),
    Claim(
        "S3-c",
        "mehta2014",
        "Receptive fields are local blocks of spins that grow with depth.",
        "ln of the median radius in the last layer over that in the first above 0; every radius below "
        f"{claims_stack.LOCAL} of fields without a place, more than {claims_stack.LEAST_PARTICIPATION:g} sites in a "
        "field",
        "the runs of the study 'strength,shuffled'",
        claims_stack.fields_grow,
    ),
    *(
        Claim(
            f"S3-d {name}",
            "our reading of mehta2014",
            f"The first hidden layer has the {words} of a coarse-grained lattice.",
            f"its {words} over that of block majorities at the same places, less 1, within "
            f"{claims_stack.SAME_LATTICE:g}",
            "the runs of the study 'strength'",
            functools.partial(claims_stack.coarse_grained, measure=words.replace(" ", "_")),
        )
        for name, words in (("coupling", "coupling"), ("length", "correlation length"))
    ),
    Claim(
        "S3-model",
        "our question to mehta2014",
        "The first machine, left to itself, has the energy and the order of the lattice.",
        f"energy of its chains over Kaufman's, less 1, within {claims_stack.SAME_ENERGY:g}; squared magnetization "
        f"within {claims_stack.SAME_ORDER:g} of that of the data",
        "the runs of the study 'strength'",
        claims_stack.model_energy,
    ),
)
"""Every claim of the room, in the order of its verdicts."""
