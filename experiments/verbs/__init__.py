"""What the experiments' verbs do; imported by the verb that needs it (experiments/cli.py)."""
