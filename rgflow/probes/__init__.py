"""Probes: what is measured on plain arrays - spectra, kernels and statistics over runs."""
