"""The command ``frugan``, also ``python -m frugan``."""

from frugan import stopping, terminal


def main() -> None:
    """Run the command line. Requests to stop are heard before anything else is imported, which takes a moment."""
    terminal.prepare()
    try:
        with stopping.listening():
            from frugan.cli import main as run

            run()
    except KeyboardInterrupt:  # before or after the command line, which answers those that it meets
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
