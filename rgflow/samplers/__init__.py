"""Where data come from: Markov chains, Ising configurations and lattice fields."""
