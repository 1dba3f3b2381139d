"""Other packages' restricted Boltzmann machines on the data and with the steps of suite rbm.

scikit-learn's BernoulliRBM follows persistent chains (SML, PCD-1), the nearest it has to CD-1: the same products of
matrices per step and one draw of each layer. rbms takes the CD-1 steps of its command with ``--training_type cd`` and
``--no_center``, from its own public pieces but without what writes files, and without the normalisation of gradients,
which would make steps of another length.
"""

from collections.abc import Callable

from launch.benchmarks.cases import Outcome
from launch.benchmarks.rbm import BATCH, BATCHES_OF_AN_EPOCH, DEVIATION, RATE, strength, training_samples


def make_sklearn(size: int, hidden: int, updates: int) -> Callable[[], Outcome]:
    """One pass of BernoulliRBM.fit, in float32, which it keeps."""
    from sklearn.neural_network import BernoulliRBM

    samples = training_samples(size, BATCH * updates)
    machine = BernoulliRBM(hidden, learning_rate=RATE, batch_size=BATCH, n_iter=1, random_state=0)

    def repeat() -> Outcome:
        machine.fit(samples)
        return Outcome(updates / BATCHES_OF_AN_EPOCH, strength(machine.components_.T))

    return repeat


def make_rbms(size: int, hidden: int, updates: int) -> Callable[[], Outcome]:
    """The steps of rbms.training.pcd.train with training type cd."""
    import torch  # pyright: ignore[reportMissingImports]
    from rbms.bernoulli_bernoulli.classes import BBRBM  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    samples = torch.from_numpy(training_samples(size, BATCH * updates))
    shares = torch.ones(BATCH, 1)

    def step(machine: BBRBM, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=False)
        chains = machine.init_chains(BATCH, weights=shares, start_v=batch)
        data = machine.init_chains(BATCH, weights=shares, start_v=batch)
        chains = machine.sample_state(chains=chains, n_steps=1)
        machine.compute_gradient(data=data, chains=chains, centered=False)
        optimizer.step()

    def repeat() -> Outcome:
        weights = DEVIATION * torch.randn(size**2, hidden)
        machine = BBRBM(weights, torch.zeros(size**2), torch.zeros(hidden))
        machine.init_grad()
        optimizer = torch.optim.SGD(machine.parameters(), lr=RATE, maximize=True)
        with torch.no_grad():
            for number in range(updates):
                step(machine, optimizer, samples[number * BATCH : (number + 1) * BATCH])
        return Outcome(updates / BATCHES_OF_AN_EPOCH, strength(machine.weight_matrix.numpy()))

    return repeat
