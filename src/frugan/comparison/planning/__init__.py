"""What a comparison asks for: arms and settings, checked, and written down as the plan that it is kept to."""
