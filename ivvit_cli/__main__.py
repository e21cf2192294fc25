"""`python -m ivvit_cli`, which `torchrun -m` needs."""

from ivvit_cli.app import main

main()
