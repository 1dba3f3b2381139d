r"""Trained dense networks against the RG fixed points of their data.

Claims of ising2022 (one-dimensional Ising model) and fields2026 (continuous fields whose Hamiltonian is a polynomial of
even degree): at the optimum of a fully connected network the characteristic parameters of its feature layer equal the
fixed point of the data's parameters under the renormalization group. What the sources leave open (loss, activation,
which scheme, which fixed point, what is fitted to the features) is spelled out here in every reading, each of which can
fail (S2). S2-flow reads the layers as a flow, S2-gauge asks whether the optimum determines the parameters at all.

| quantity                                                     | function                                           |
|--------------------------------------------------------------|----------------------------------------------------|
| $p \propto e^{-\sum U(x_i) + K \sum x_i x_{i+1}}$, samples   | samplers.fields.sample_fields, ising.sample_ring   |
| $U = \frac r2 x^2 + u x^4 + v x^6$, when it can be normalised| exact.potential                                    |
| $A(x, y)$, decimation $A \to A A$, $\xi$, $U^* = -2\ln\psi_0$| exact.transfer                                     |
| exact moments of decimated sites and of block sums           | exact.block_moments                                |
| the network, N to N / 2^halvings                             | nets.dense.Bottleneck                              |
| samples, targets, losses, linear maps to compare with        | task                                               |
| one Adam step; the penalty of weight decay                   | dynamics                                           |
| $\theta, J$ by score matching; J by pseudo-likelihood        | probes.score_matching, probes.pseudo_likelihood    |
| raw, standardised, whitened, principal; $f \to f B$          | probes.gauges                                      |
| cumulants, correlations, mutual information, noise floor     | probes.dependence                                  |
| what is recorded                                             | probe                                              |
| exact flow of the data in the same terms, fixed points       | theory, reference                                  |
| which networks belong together; what must hold of them       | select, controls                                   |
| every reading at one error rate; the claims; the figures     | readings, claims, figures                          |

Notation: K = coupling = $\beta J$, r, u, v = potentials, $\theta_{2k}$ = onsite, $J_{ij}$ = couplings between features
(``ring_coupling`` is the K of a ring with the same sum of squares), N = num_sites, M features, B = orbit. Decimation
leaves the law of a site alone: its stable fixed point is independent variables with the law of the data. Block sums,
$(x_a + x_b)/\sqrt 2$, end at independent Gaussians. Both have J = 0 and differ in what stands on a site.

Reference keys: ising2022 = arXiv:2212.00005 (Sci. China Math. 2025, doi 10.1007/s11425-024-2454-9); fields2026 =
arXiv:2606.00157.

Not reproduced: the sources' own settings, which could not be had in full (only abstracts and first pages); theirs may
define features, parameters or optimum otherwise. What is tested is the statement in the readings listed here.
"""

from rgflow.fixed_points.experiment import make

__all__ = ["make"]
