"""What is measured before the first run of the test: controls, budgets in equal seconds, and the margin."""
