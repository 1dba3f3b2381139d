r"""Effective rank of residual MLP streams over Markov chains: is the forward pass a renormalization group flow?

Claim of HR2026: in a pure MLP residual stack trained on masked-token prediction over Markov chains, the effective
rank of the residual stream falls monotonically with depth (S1-i), selectively for short correlation lengths (S1-ii),
and the kernel drifts at one or two transitions only (S1-iii).

| quantity                                              | function                               |
|-------------------------------------------------------|----------------------------------------|
| chain with correlation length $-1/\ln|\lambda_2|$     | samplers.markov.make_chain             |
| Bayes loss $L^*$, window optimum $L^*(w)$             | theory.bayes_masked_loss               |
| exact posterior of a masked token                     | theory.masked_posterior                |
| optimum of a token-wise network                       | theory.tokenwise_optimum               |
| masked loss, its two exact shortcuts, one Adam step   | dynamics.plain_loss, table_loss, scored_loss, step |
| effective rank, kernel drift by level and centring    | probe.rank_records, probe.drift_records |
| claims, controls, decision rules                      | verdict.verdict                        |

Notation: $\xi$ = correlation_length (tokens), V = num_states, T = length, p = mask_prob, L = depth, d = width.

Reference keys: HR2026 = Haggi-Mani and Rish, arXiv:2606.10324 (its settings are known through the description of the
same MLP baseline in arXiv:2607.15449).

Not reproduced, because the source could not be read in full: the paper's own family of chains (ours is
``dirichlet_lazy``), whether its network mixes positions (both readings are run: ``tokenwise`` and ``window``), the
masking variant (``pure`` and ``bert``), centring of the stream, the place of the normalisation, the number of seeds,
and the initialisation (ours: LeCun normal weights, zero biases).
"""

from rgflow.rank_flow.experiment import make

__all__ = ["make"]
