"""A reward in a process of its own: `mixgrpo serve-reward`. Needs the `[serve]` extra."""
