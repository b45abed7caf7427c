"""python -m flashsale: the same as the command flashsale."""

from flashsale.cli import main

main()
