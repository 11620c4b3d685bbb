"""A population of charts, as Bulk Data brings it: what the knowledge would say, a row a patient.

Each chart goes through the reader and the assessor of the hooks. The engines differ in how the lines of one patient
come together, and in nothing else.
"""
