"""`python -m cartcls.cli`."""

from . import main

main()
