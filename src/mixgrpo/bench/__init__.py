"""`mixgrpo bench`: what an iteration costs, what its levers give, how it grows, and what is learned for it."""
