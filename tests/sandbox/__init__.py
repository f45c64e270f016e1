"""The service on FHIR servers that nobody here wrote: those that the suite starts, or one that is given."""
