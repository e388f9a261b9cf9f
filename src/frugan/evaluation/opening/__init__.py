"""What is judged (fakes, or what translators make of real images) and the real images that it is compared with."""
