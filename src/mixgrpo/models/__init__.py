"""The models that can be trained: thin adapters over diffusers pipelines."""
