"""Rewards that a server computes: our own reward server, or a vision-language model as a judge."""
