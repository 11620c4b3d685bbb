"""What the CDS client sent, read: FHIR resources -> statements -> the case of one patient, and what is ordered."""
