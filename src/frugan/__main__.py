"""``python -m frugan`` is the command ``frugan``."""

from frugan.cli import main

if __name__ == "__main__":
    main()
