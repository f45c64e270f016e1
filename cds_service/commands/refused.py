"""Why a command does not run: bad input or settings, said to the person at the terminal."""


class Refused(Exception):
    """The message is printed as it stands; the exit status is 3."""
