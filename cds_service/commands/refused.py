"""Why a command does not run: bad input or settings, said to the person at the terminal."""

from cds_service.errors import CdsError


class Refused(CdsError):
    """The message names the argument or file; the exit status is 3, as for every CdsError."""
