"""The command ``frugan``, also ``python -m frugan``."""

from frugan import stopping


def main() -> None:
    """Run the command line. Requests to stop are heard before anything else is imported, which takes a moment."""
    with stopping.listening():
        try:
            from frugan.cli import main as run
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        run()


if __name__ == "__main__":
    main()
