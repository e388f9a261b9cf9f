"""Opens what is evaluated: fakes, or real images and their translations, and the real images to compare them with."""
