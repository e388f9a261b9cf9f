"""Values: a metric's number, its protocol (how it was made), and its floor (what real images reach)."""
