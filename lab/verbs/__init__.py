"""What the verbs of the command line do; imported by the verb that needs it (lab/cli.py)."""
