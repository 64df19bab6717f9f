"""Commands: run an experiment, check claims."""
