"""Configs: one file per room, each with get_config(preset) and get_sweep(config)."""
