r"""Effective rank of residual MLP streams over Markov chains: is the forward pass a renormalization group flow?

Claim of HR2026: in a pure MLP residual stack trained on masked-token prediction over Markov chains, the effective
rank of the residual stream falls monotonically with depth (S1-i), selectively for short correlation lengths (S1-ii),
and the kernel drifts at one or two transitions only (S1-iii).

| quantity                                              | function                               |
|-------------------------------------------------------|----------------------------------------|
| chain with correlation length $-1/\ln|\lambda_2|$     | samplers.markov.make_chain             |
| its modes: right eigenfunctions $\varphi_k$            | samplers.markov.mode_functions         |
| Bayes loss $L^*$, window optimum $L^*(w)$             | theory.bayes_masked_loss               |
| exact posterior of a masked token, of all or a window | theory.masked_posterior, theory.window_posterior |
| optimum of a token-wise network                       | theory.tokenwise_optimum               |
| what a position sees: one object per mixing           | mixing.Mixing, mixing.MIXINGS          |
| shapes, masking, controls, encodings                  | task.Static, task.draw_batch, task.inputs |
| masked loss, its two exact shortcuts, one Adam step   | dynamics.plain_loss, table_loss, scored_loss, step |
| held-out loss beside the exact posterior's            | held_out.loss_records                  |
| effective rank, kernel drift by level and centring    | probe.rank_records, probe.drift_records |
| singular values of the stream of each layer           | probe.spectrum_records                 |
| rank of the exact optimal predictor (the floor)       | probe.predictor_rows                   |
| held-out $R^2$ of modes and of the Bayes logits       | relevance.readout_records              |
| linear response to a shift along a mode, its decay    | relevance.perturbation_records, decay.decay_rates |
| the same relative to the stream, range of its lengths | decay.relative_perturbation, decay.dynamic_range |
| runs of claims, controls, settings, blocks, phases    | select                                 |
| S1-i, S1-ii, S1-data; S1-iii: statistic and rule      | collapse, drift                        |
| S1-i to S1-iii in every reading; the typical reading  | readings.places, readings.over_readings |
| the same at settings that the source leaves open      | claims.over_settings                   |
| how far training came; effects at a learned fraction  | learning.progress, learning.at_fraction |
| S1-modes: are fast modes forgotten first?             | modes.forgotten_in_order               |
| S1-blocks: does the rank follow the slow modes?       | blocks.on_block_chains                 |
| S1b-loss to S1b-trend: attention beside MLPs          | attention                              |
| the table of claims                                   | claims                                 |

Notation: $\xi$ = correlation_length (tokens), V = num_states, T = length, p = mask_prob, L = depth, d = width,
$R = \mathrm{ER}_L / \mathrm{ER}_0$ = rank ratio, S = selectivity.

Reference keys: HR2026 = Haggi-Mani and Rish, arXiv:2606.10324 (its settings are known through the description of the
same MLP baseline in HR2026b); HR2026b = arXiv:2607.15449, on attention beside that MLP.

Not reproduced, because the sources could not be read in full: the paper's own family of chains (ours is
``dirichlet_lazy``, one chain for each seed; in ``softmax``, ``dirichlet`` and ``banded`` the stationary distribution
moves with the length), whether its network mixes positions (five kinds can be run: ``tokenwise``, ``window``,
``mixer``, ``flat``, ``attention``), the masking variant (``pure`` and ``bert``), centring of the stream, the place of
the normalisation, the number of seeds, weight decay and dropout (ours: none), the initialisation (ours: LeCun normal
weights, zero biases; ``torch`` and ``scaled`` can be run); of HR2026b its
definition of perturbation decay (ours is exact linear response to a shift of the embedding along a mode, relative to
the growing stream), its fixed-point shift and the contributions of single heads.
"""

from rgflow.rank_flow.experiment import make

__all__ = ["make"]
