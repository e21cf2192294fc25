"""`ivvit`, and `python -m ivvit_cli`, which `torchrun -m` needs."""

import os
import signal


def main() -> None:
    """Run the command line of this process; Ctrl-C exits with 130 while modules still load, too."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as of a job in the background
        # An exception would be lost, or show a traceback, in the midst of an import.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from ivvit_cli.app import main as run_and_exit

    signal.signal(signal.SIGINT, before)
    run_and_exit()


if __name__ == "__main__":
    main()
