"""A run's figures and its one-file report (DESIGN section 10). The only user of matplotlib."""
