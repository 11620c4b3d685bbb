"""`python -m cds_hooks.conformance URL`.

Specification: as the table of checks has it.
"""

from cds_hooks.conformance.command import CALLED, check

check(prog_name=CALLED)
