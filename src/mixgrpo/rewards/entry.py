"""What a recipe may say about rewards, and about scores that fail."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mixgrpo.recipe.sections import Section


class RewardConfig(Section):
    """A weight alone, or a mapping: these keys, and whatever options the reward of that name has."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(default=1.0, ge=0)
    """0: observed only."""
    reward: str | None = None
    """The reward's name, where it goes under a label of one's own."""
    url: str | None = None
    """A server that computes it (`mixgrpo serve-reward`); the options are then the client's."""

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, given: object) -> object:
        return given if isinstance(given, Mapping | RewardConfig) else {"weight": given}

    @property
    def options(self) -> dict[str, Any]:
        """As given, unchecked."""
        where = {} if self.url is None else {"url": self.url}
        return {**where, **(self.model_extra or {})}


class ScoringConfig(Section):
    """A score that fails is asked for again, and is never a zero.

    A reward says NaN of an image that it could not judge: after the retries the image is left out, its group is
    compared without it. A reward that raises, or gives another number of scores than it got images, is broken or
    unreachable, which nobody should find out from a flat curve: after the retries training stops, unless told
    otherwise. And left out is only a few: past `stop_above` what remains is no fair sample of what the model draws.
    """

    threads: int = Field(default=1, ge=1)
    """Calls at a time, beside the drawing. More than 1 for rewards that wait for a server."""
    retries: int = Field(default=2, ge=0)
    """Further calls for the images that a call left without a score, at once: a client backs off by itself."""
    on_error: Literal["stop", "leave-out"] = "stop"
    """What an error means once retries are spent: the end, or images left out as where the answer is NaN."""
    stop_above: float = Field(default=0.2, ge=0, le=1)
    """The share of an iteration's scores of any reward that may fail. 0: every score is needed."""
