"""The world of scenes: captions, a renderer, and verifiers that check an image against its caption."""
