"""How the tiny model that ships was made, from random weights."""
