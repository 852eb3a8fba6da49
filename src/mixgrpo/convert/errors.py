"""What stops a conversion."""


class ConvertError(ValueError):
    """A sentence for whoever gave the file."""
