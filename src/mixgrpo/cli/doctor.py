"""`mixgrpo doctor`"""
def doctor() -> None:
    """x"""
