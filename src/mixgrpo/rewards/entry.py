"""The configuration of one reward in a recipe."""

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from mixgrpo.section import Section


class RewardConfig(Section):
    """Either a weight alone, or a mapping with these keys and the reward's own options."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(default=1.0, ge=0)
    """0: the score is recorded, but not trained on."""
    reward: str | None = None
    """The reward's name, if the entry's key is a label of your own."""
    url: str | None = None
    """A server that computes the reward (`mixgrpo serve-reward`). The options are then those of the client."""

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_weight(cls, given: object) -> object:
        return given if isinstance(given, Mapping | RewardConfig) else {"weight": given}

    @property
    def options(self) -> dict[str, Any]:
        """The options as given, not yet checked."""
        url = {} if self.url is None else {"url": self.url}
        return {**url, **(self.model_extra or {})}
