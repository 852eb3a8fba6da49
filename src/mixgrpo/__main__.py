"""The `mixgrpo` command, and `python -m mixgrpo`, which is how torchrun starts it."""

from mixgrpo.signals import ending_at_once


def main() -> None:
    with ending_at_once():  # imports take seconds
        from mixgrpo.cli.main import app

        app()


if __name__ == "__main__":
    main()
