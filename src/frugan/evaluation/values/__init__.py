"""Values: how the number of a metric comes about, and the number, beside what real images reach."""
