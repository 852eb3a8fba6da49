"""A reward server in a process of its own: `mixgrpo serve-reward`. Needs the `[serve]` extra."""
