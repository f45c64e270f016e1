"""Real FHIR servers that the tests can start."""
