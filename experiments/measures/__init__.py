"""What the raw records of one trial mean (DESIGN section 3): pure functions, no clock, no lab.

`records` reads a trial's folder, `failover`, `beacon` and `probe` are the three instruments,
`meter` and `invariants` look for reasons not to believe or not to accept, `verdict` joins them.
"""
