r"""Back-propagating kernel renormalization: deep linear networks in equilibrium, their kernels, and ReLU by analogy.

Claims of li2021: integrating out the weights of a deep linear network one layer at a time, from the output back,
renormalizes its kernel by one scalar per layer, and the resulting theory predicts bias, variance and layer kernels at
any ratio of training points to width (S4-linear); replacing the input kernel by that of the infinitely wide ReLU
network describes ReLU networks of moderate depth too (S4-ReLU, a heuristic).

The model: L hidden layers, $x^l = W_l x^{l-1}/\sqrt{N_{l-1}}$, $f = a \cdot x^L/\sqrt{N_L}$, Gibbs measure of
temperature T for the energy $\frac12 \sum_\mu (f_\mu - Y_\mu)^2 + \frac{T}{2\sigma^2} |\Theta|^2$: a prior N(0,
sigma2) on every weight and label noise of variance T.

| quantity                                        | function                                               |
|-------------------------------------------------|--------------------------------------------------------|
| action, its force A, all saddle points          | saddle.solve_saddle, action, data_force                |
| $u_0$ of least action, all roots, coexistence   | order_parameter.order_parameter, saddle_points         |
| the same on a grid of (N, L, sigma2, T)         | order_parameter.order_parameter_grid                   |
| mean and covariance of the output               | theory.predictor, predictor_covariance                 |
| training energy, bias and variance              | theory.training_energy, generalization_error           |
| limits of infinite width and depth              | theory.infinite_width_predictor, infinite_depth_scale  |
| $\langle K_l \rangle$ of every hidden layer     | hidden.hidden_kernels, hidden_kernels_zero_temperature |
| flow of the partially integrated kernel         | hidden.kernel_flow                                     |
| several outputs: the matrix $U_0$               | matrix_order.matrix_order_parameter, matrix_saddle     |
| several outputs: predictor, energy, kernels     | matrix_order.matrix_predictor, matrix_hidden_kernels   |
| exact posterior of Q at finite width            | oracle.exact_scale_posterior                           |
| exact predictor and training energy             | oracle.exact_predictor, exact_training_energy          |
| exact layer kernels                             | oracle.exact_hidden_kernels                            |
| exact moments of u for L = 1, T = 0             | closed_form.one_layer_moment                           |
| teacher, templates, random labels, digits       | data                                                   |
| ReLU heuristic                                  | relu.heuristic_kernels, heuristic_predictor            |
| network of any size in arrays of one size       | network.hidden_features, observables                   |
| blocked Gibbs sweep, rescaling between layers   | gibbs.sweep, condition, rescale                        |
| Hamiltonian Monte Carlo (blackjax)              | hmc.log_density, trajectory                            |
| gradient descent with and without weight decay  | training.descend                                       |
| minimum of the energy with weight decay         | map_limit.map_limit                                    |
| data of a point; what is known before it runs   | task.draw_data, reference.references                   |
| sampled numbers with standard errors            | summary.summaries                                      |
| chains = exact law = theory; the ReLU heuristic | agreement                                              |
| sign rule for width, depth limit, peak at P=N0  | statements                                             |
| equilibrium against trained networks            | trained_verdict                                        |

Notation: N = width, L = depth, P = training points, N0 = input components, m = outputs; $\sigma^2$ = sigma2, T =
temperature; $K_0 = (\sigma^2/N_0) X X^T$ = kernel (it contains sigma2), $k_0$ = cross, $k_{00}$ = diag, Y = targets;
$\rho$ = rank of $K_0$, $\alpha = \rho/N$ = load, $r_0 = Y^T K_0^+ Y/\rho$ = label_norm; $u_l$ = layer_scales, $u_0$ =
order_parameter, $Q = \prod_l u_l$ = scale. K_l = layer kernels. Rows of X are samples.

Reference keys: li2021 = Li and Sompolinsky, arXiv:2012.04030, Phys. Rev. X 11, 031059. The paper was known to us
through its abstract and a secondary reading; its equations were derived again and checked against the exact law of the
model, so references name the statement and not an equation number.

Not reproduced, because the source could not be read in full: the paper's own data sets and figure settings (ours are
of the same kind), its sequence of order parameters before averaging over the weights that are left (the flow here is
that of the posterior average), and its results for the kernels of test points.
"""

from rgflow.kernel_rg.experiment import make

__all__ = ["make"]
