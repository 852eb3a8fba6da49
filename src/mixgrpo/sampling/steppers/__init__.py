"""How one step moves along the path: stochastic (`sde`) or deterministic (`ode`), both as a `Move`."""
