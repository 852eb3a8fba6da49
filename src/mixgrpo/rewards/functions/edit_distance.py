"""How far two strings are apart."""


def similarity(found: str, requested: str) -> float:
    """1 - edit distance / length of the longer string."""
    return 1 - edit_distance(found, requested) / max(len(found), len(requested), 1)


def edit_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]
