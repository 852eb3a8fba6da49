"""`mixgrpo bench`: what an iteration costs, what makes it fast, how cost grows, and what is learned in a given time."""
