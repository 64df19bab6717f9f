"""Sweeps: many runs of one config, by any number of workers, through Optuna."""
