"""What the service is made of: its base image, its packages, their licences and their known faults."""
