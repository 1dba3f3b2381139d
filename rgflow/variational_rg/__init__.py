r"""Variational RG and restricted Boltzmann machines on the Ising model.

Claims of mehta2014: a restricted Boltzmann machine with energy E defines a variational RG step with kernel T = -E + H
(S3-a); the step is exact if and only if its free-energy gap vanishes (S3-b); stacks of machines trained on the
two-dimensional Ising model find block spins, local receptive fields that grow with depth (S3-c), so that hidden
layers are coarse-grained lattices (S3-d, our reading). S3-model asks whether the machine knows the lattice at all;
S3-lattice and S3-yardstick test the samples and the Monte Carlo RG that it is compared with.

| quantity                                              | function                                                  |
|-------------------------------------------------------|-----------------------------------------------------------|
| $-E = v^T W h + b \cdot h + c \cdot v$; F(v)          | exact.joint_log_weights, machine.free_energy              |
| $T = -E + H$; $H^{RG}(h)$; $\mathrm{Tr}_h e^T$        | theory.rg_kernel, coarse_hamiltonian, trace_condition     |
| $\Delta F = F^h - F^v$; the constant that removes it  | theory.free_energy_gap, constant_without_gap              |
| $D(P \,|\, p)$, also as the Jensen gap of the trace   | theory.relative_entropy, jensen_gap                       |
| the identities between them                           | theory.identities                                         |
| $\ln Z$, p(v) by enumeration                          | exact.log_partition, visible_log_probabilities            |
| one hidden spin per bond                              | constructions.bond_machine                                |
| block Gibbs sweeps; means up and down a stack         | gibbs.gibbs_sweep, reconstruct                            |
| CD-k, PCD, exact gradient; momentum; L1               | learning.contrast, exact_contrast, update                 |
| $\ln Z$ by annealed importance sampling               | annealing.log_partition_estimate                          |
| Ising samples, shuffled controls                      | task.lattice_samples, shuffled                            |
| greedy training of a stack, one run                   | dynamics.init, step                                       |
| a machine small enough to enumerate, one run          | small.init, step                                          |
| the lattice itself as a chain, one run                | lattice.init, step                                        |
| fields, couplings, reconstructions, the model alone   | probe, free_running                                       |
| majority rule, decimation, principal components       | block_spins                                               |
| which records of a chain are in equilibrium           | equilibrium                                               |
| claims                                                | claims_stack, claims_mapping, claims_lattice              |

Notation: v, h = visible, hidden units; W = weights, c = visible_bias, b = hidden_bias; K = coupling = beta J; r^l =
receptive_field; L1 = l1, inside the learning rate. Spins are $\pm1$ unless units are ``binary``. H(v) is the
Hamiltonian of the data over the temperature, in nats.

Reference keys: mehta2014 = Mehta and Schwab, arXiv:1410.3831; schwab2016 = Schwab and Mehta, arXiv:1609.03541, which
concedes that a vanishing gap does not make a step exact; HS2006 = Hinton and Salakhutdinov, Science 313 (2006) 504,
whose published code the training follows. We know the paper by a detailed reading of it alone.

Not reproduced: the data of the paper, which were not published (ours are at the same K, size and number); its
supervised fine-tuning code path, which it did not use; a temperature flow by repeated reconstruction (arXiv:1801.07172)
and the test with decoupled pairs of spins (Koch-Janusz and Ringel).
"""

from rgflow.variational_rg.experiment import make

__all__ = ["make"]
