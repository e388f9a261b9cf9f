"""What may be said of the arms, from what was measured of their runs."""
