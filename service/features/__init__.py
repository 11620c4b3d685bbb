"""What was read from a chart, as FHIR: one Observation for each statement about a finding.

`resources.py` makes them of a case, `profile.py` says what they look like. Pure: no clock, no I/O.
"""
