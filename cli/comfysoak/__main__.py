"""`python -m comfysoak`."""

from comfysoak.main import main

main()
