"""Makes `python -m icefloe` the same as `icefloe`."""

from icefloe.cli.main import main

main()
