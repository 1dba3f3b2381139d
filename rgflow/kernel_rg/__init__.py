r"""Back-propagating kernel renormalization: deep linear networks in equilibrium, their kernels, and ReLU by analogy.

Claims of li2021: integrating out the weights of a deep linear network one layer at a time, from the output back,
renormalizes its kernel by one scalar per layer, and the resulting theory predicts bias, variance and layer kernels at
any ratio of training points to width (S4-linear); replacing the input kernel by that of the infinitely wide ReLU
network describes ReLU networks of moderate depth too (S4-ReLU, a heuristic).

The model: L hidden layers, $x^l = W_l x^{l-1}/\sqrt{N_{l-1}}$, $f = a \cdot x^L/\sqrt{N_L}$, Gibbs measure of
temperature T for the energy $\frac12 \sum_\mu (f_\mu - Y_\mu)^2 + \frac{T}{2\sigma^2} |\Theta|^2$: a prior N(0,
sigma2) on every weight and label noise of variance T.

| quantity                                        | function                                      |
|-------------------------------------------------|-----------------------------------------------|
| a problem: checked, diagonalised                | problem.make_problem                          |
| output, energy at fixed scale Q                 | problem.predictor_at, energy_at               |
| action, its force A, all saddle points          | saddle.find_saddle, action, data_force        |
| saddle points at many (N, L, sigma2, T)         | saddle.saddle_grid                            |
| $u_0$ of least action                           | theory.order_parameter                        |
| mean and variance of the output                 | theory.predictor, predictor_grid              |
| $\langle K_l \rangle$ of every hidden layer     | theory.hidden_kernels                         |
| limit of infinite depth                         | theory.infinite_depth_scale                   |
| exact posterior of Q at finite width            | theory.exact_scale_posterior                  |
| exact predictor and training energy             | oracle.exact_predictor, exact_training_energy |
| exact layer kernels                             | oracle.exact_hidden_kernels                   |
| teacher, templates, random labels, digits       | task.draw_data                                |
| kernels of a data set                           | task.input_kernels                            |
| ReLU heuristic                                  | relu.heuristic_kernels                        |
| network of any size in arrays of one size       | network.hidden_features, observables          |
| blocked Gibbs sweep, rescaling between layers   | gibbs.sweep, condition, rescale               |
| Hamiltonian Monte Carlo (blackjax)              | hmc.log_density, trajectory                   |
| gradient descent with and without weight decay  | dynamics.descend                              |
| minimum of the energy with weight decay         | map_limit.map_limit                           |
| what is known before a point runs               | reference.references                          |
| sampled numbers with standard errors            | observables.pool                              |
| chains = exact law = theory; the ReLU heuristic | claims                                        |
| sign rule for width, depth limit, peak at P=N0  | claims_swept                                  |
| equilibrium against trained networks            | claims_trained                                |

Notation: N = width, L = depth, P = training points, N0 = input components, m = outputs; $\sigma^2$ = sigma2, T =
temperature; $K_0 = (\sigma^2/N_0) X X^T$ = kernel (it contains sigma2), $k_0$ = cross, $k_{00}$ = diag, Y = targets;
$\rho$ = rank of $K_0$, $\alpha = \rho/N$ = load, $r_0 = Y^T K_0^+ Y/\rho$ = label_norm; $u_l$ = layer_scales, $u_0$ =
order_parameter, $Q = \prod_l u_l$ = scale. K_l = layer kernels. Rows of X are samples.

Reference keys: li2021 = Li and Sompolinsky, arXiv:2012.04030, Phys. Rev. X 11, 031059. The paper was known to us
through its abstract and a secondary reading. Its equations were derived again and checked against the exact law of the
model, so references name the statement and not an equation number.

Not reproduced, because the source could not be read in full: the paper's own data sets and figure settings (ours are
of the same kind), its sequence of order parameters before averaging over the weights that are left, and its results for
the kernels of test points. Networks of several outputs are left out. At T = 0 they decouple: along every eigenvector
of $R_0 = Y^T K_0^+ Y/\rho$ the labels obey the equation of one output.
"""

from rgflow.kernel_rg.experiment import make

__all__ = ["make"]
