"""The runs of the test, each a process of its own, and what is measured of each once it is trained."""
