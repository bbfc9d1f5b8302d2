"""`python -m lab`: the lab's verbs alone; `ceha` adds the experiments' (python -m experiments)."""

from lab.cli import main

main()
