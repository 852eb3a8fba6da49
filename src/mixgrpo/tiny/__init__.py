"""The world of scenes, and a tiny but complete FLUX trained on it from nothing."""
