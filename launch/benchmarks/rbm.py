r"""Suite rbm: epochs of contrastive divergence of a restricted Boltzmann machine, 1600 visible and 400 hidden units.

CD-1 on batches of 100 Ising samples of 40 x 40, the first machine of the room's published stack: binary units, plain
steps without momentum and penalty, reconstructions as draws, small random weights first. An epoch is 100 batches. The
answer is the largest singular value of the weights after 30 steps.

Of rgflow's time per step (processor time, one device) five products of 1600 x 400 x 100 alone take 64 %, 2 x 10^5
uniform numbers 6 % (17 % from ``jax.random.uniform``, which has the same bits), the rest is means and passes over the
weights. The products are the floor. Four runs are in flight, two per core as in a sweep on a CPU.
"""

from collections.abc import Callable

import numpy as np

from launch import environment
from launch.benchmarks.cases import Case, Contender, Outcome, Peer

RATE = 0.02
BATCH = 100
BATCHES_OF_AN_EPOCH = 100
DEVIATION = 0.01
COUPLING = 0.408
POWER_STEPS = 20


def training_samples(size: int, number: int) -> np.ndarray:
    """Returns Ising samples as 0 and 1, float32 [number, size^2]."""
    from rgflow.variational_rg.task import lattice_samples

    return (lattice_samples(COUPLING, size, number, 0)[0] > 0).astype(np.float32)


def strength(weights: np.ndarray) -> float:
    """Returns the largest singular value of weights: it grows with the first mode that the machine learns."""
    direction = np.ones(weights.shape[1], weights.dtype)
    for _ in range(POWER_STEPS):
        direction = weights.T @ (weights @ direction)
        direction /= np.linalg.norm(direction)
    return float(np.linalg.norm(weights @ direction))


def make_rgflow(size: int, hidden: int, updates: int, runs: int, run_batch: int) -> Callable[[], Outcome]:
    """The room's own step through the engine: runs on all cores, as many at a time on each as a sweep would take."""
    environment.configure(runs=runs)
    import jax

    from configs import variational_rg as room
    from rgflow.engine import grid, mesh, prepare
    from rgflow.variational_rg import experiment

    config = room.get_config()
    config.update({"size": size, "learning_rate": RATE, "momentum": 0.0, "final_momentum": 0.0, "l1": 0.0})
    config.update({"coupling": COUPLING, "weight_deviation": DEVIATION, "mean_field": False})
    config.stack.update({"layers": (hidden,), "epochs": 1, "batch": BATCH, "num_samples": BATCH * updates})
    config.stack.update({"num_test": 40, "records": 1, "shown": 4})
    config.model.update({"chains": 4, "sweeps": 2, "temperatures": 2})
    made = experiment.make(config)
    members = tuple(grid.Run({}, seed) for seed in range(runs))
    batch = mesh.choose_run_batch(mesh.platform(), runs, jax.device_count(), run_batch, made.cpu_run_batch)
    prepared = prepare.prepare(grid.Group("rbm", members, batch), [made] * runs, root_seed=0)
    program, key, hypers = prepared.program, prepared.key, prepared.hypers

    def repeat() -> Outcome:
        carry = program.initialise(key, hypers)
        carry, _ = program.advance(0, updates, False, key, hypers, carry)
        machine = carry.state.machines[0]
        answer = np.mean([strength(weights) for weights in np.asarray(machine.weights)[:2]])
        return Outcome(runs * updates / BATCHES_OF_AN_EPOCH, float(answer))

    return repeat


def cases(tiny: bool) -> list[Case]:
    """Returns the one machine, with many runs in flight."""
    sizes = {"size": 8, "hidden": 16, "updates": 5} if tiny else {"size": 40, "hidden": 400, "updates": 30}
    peers = "launch.benchmarks.rbm_peers"
    # On a busy machine two threads wait for each other: 18 s of processor time per epoch and not 1.4 (scikit-learn).
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return [
        Case(
            suite="rbm",
            name=f"{sizes['size'] ** 2}-{sizes['hidden']}, CD-1, batch {BATCH}",
            unit="epoch of a run",
            ours=Contender("rgflow", "launch.benchmarks.rbm:make_rgflow", {**sizes, "runs": 4, "run_batch": 0}),
            peers=(
                Peer(Contender("scikit-learn", f"{peers}:make_sklearn", sizes, ("scikit-learn",), threads), 5.0),
                Peer(Contender("rbms", f"{peers}:make_rbms", sizes, ("rbms",), threads), 1.5),
            ),
            tolerance=0.1,
        )
    ]
