"""The `mixgrpo` command, and `python -m mixgrpo`, which is how torchrun starts it."""

import gc

from mixgrpo.signals import ending_at_once


def main() -> None:
    try:
        with ending_at_once():  # imports take seconds
            from mixgrpo.cli.main import app

            app()
    finally:
        gc.freeze()  # Python would look for garbage among all that the libraries hold: the prompt came 1.4 s later


if __name__ == "__main__":
    main()
