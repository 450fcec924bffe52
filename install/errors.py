"""What stops an installation, in words for whoever runs it."""


class InstallError(Exception):
    """What happened, the value seen, what to do next. Nothing was switched when it is raised, unless it says so."""
