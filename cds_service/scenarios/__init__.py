"""Scenarios: a patient, orders and what the clinician is told, as a pharmacist writes them and a test reads them."""
