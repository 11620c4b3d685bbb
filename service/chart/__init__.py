"""What the CDS client sent, read: FHIR resources -> assertions -> the case of one patient, and what is ordered."""
