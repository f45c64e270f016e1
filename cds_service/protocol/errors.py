"""What is raised where a protocol, or a site's change to it, cannot be used."""

from cds_service.errors import ConfigurationError


class ProtocolError(ConfigurationError):
    """A protocol (or overlay) that cannot be used. The message says where, what, and what is expected."""
