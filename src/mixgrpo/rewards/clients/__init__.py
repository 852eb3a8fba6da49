"""Rewards computed by a server: our own reward server, or a vision-language model that acts as a judge."""
