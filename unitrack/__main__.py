"""`python -m unitrack` is `unitrack`."""

from unitrack.cli import main

main(prog_name="unitrack")
