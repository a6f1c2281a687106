"""`python -m instructmine`."""

from instructmine.cli import main

main()
