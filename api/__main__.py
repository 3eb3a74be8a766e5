"""`python -m disinhib` is the command `disinhib`."""

from .experiments.__main__ import main

main()
