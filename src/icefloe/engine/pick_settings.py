"""How a session picks: the method, what all methods need, and a section for each method.

The sections hold the settings of the pickers themselves, without the diameter and the contrast,
which are facts about the particle and stand once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from icefloe.errors import SettingsError
from icefloe.network.settings import NetworkSettings
from icefloe.picking.match_settings import MatchSettings
from icefloe.picking.settings import BlobSettings, DiameterRange

__all__ = ["PickLimits", "PickMethod", "PickSettings", "migrated_pick"]

# A further method needs its name here, a section below, and a case in `engine.picking`.
PickMethod = Literal["auto", "blob", "template", "network", "learn", "none"]

# Facts about the particle, which [pick] has for all methods.
_SHARED = ("diameter", "contrast")


def _choices(name: str, model: type[BaseModel]) -> type[BaseModel]:
    """Return a picker's settings without what all methods share."""
    fields: dict[str, Any] = {
        key: (field.annotation, field)
        for key, field in model.model_fields.items()
        if key not in _SHARED
    }
    return create_model(name, __config__=ConfigDict(frozen=True, extra="forbid"), **fields)


if TYPE_CHECKING:

    class BlobChoices(BaseModel):
        """`BlobSettings` without diameter and contrast."""

    class TemplateChoices(BaseModel):
        """`MatchSettings` without diameter and contrast."""

    class NetworkChoices(BaseModel):
        """`NetworkSettings` without contrast."""

else:
    BlobChoices = _choices("BlobChoices", BlobSettings)
    TemplateChoices = _choices("TemplateChoices", MatchSettings)
    NetworkChoices = _choices("NetworkChoices", NetworkSettings)


class PickLimits(BaseModel):
    """Which of the peaks that a picker found become picks, once they were looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float | None = Field(
        default=None,
        description="Lowest score of a pick in all exposures, in the units of the method, above or "
        "below the threshold of picking; not set: that threshold. Chosen on the page.",
    )
    min_power: float | None = Field(
        default=None,
        ge=0,
        description="Lowest power (mean square about a pick over that of the median pick), where "
        "the method measures it.",
    )
    max_power: float | None = Field(
        default=None, ge=0, description="Highest power; more is dirt, mostly."
    )

    @property
    def none(self) -> bool:
        """Return whether nothing is limited: the picks are those of the picker."""
        return self.score is None and self.min_power is None and self.max_power is None

    @model_validator(mode="after")
    def _possible(self) -> PickLimits:
        low, high = self.min_power, self.max_power
        if low is not None and high is not None and low > high:
            raise ValueError(f"pick.limits: min_power {low:g} is above max_power {high:g}")
        return self


class PickSettings(BaseModel):
    """The method, and what it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: PickMethod = Field(
        default="auto",
        description="auto: templates made from the session's own first good exposures; learn: a "
        "network that learns the particle from what those find (needs torch, with which new "
        "sessions begin with it); blob: discs and rings of the diameter given; template: the "
        "templates given; network: a trained network (needs torch); none: no picking.",
    )
    diameter: DiameterRange | None = Field(
        default=None,
        description="Smallest and largest particle diameter, A; one number means both. Not set: "
        "found in the data, the templates or the model's card; blob needs it.",
    )
    contrast: Literal["dark", "bright"] = Field(
        default="dark", description="Whether particles are darker or brighter than the ice."
    )
    reference_exposures: int = Field(
        default=8,
        ge=1,
        le=200,
        description="Good exposures (with a usable CTF) that auto and learn wait for before they "
        "make their reference; fewer if the session has no more.",
    )
    reference_micrographs: int = Field(
        default=4,
        ge=1,
        le=50,
        description="How many of them, spread evenly, the reference is made from; all of them if "
        "these hold too few particles.",
    )
    reference_classes: bool = Field(
        default=True,
        description="Let auto and learn make class averages of the particles found first, and "
        "pick with the best of them where they do better than a round template.",
    )
    templates: str | None = Field(
        default=None,
        description="For method template: class averages (.mrcs, RELION's STAR, cryoSPARC's .cs), "
        "a map (.mrc) or an atomic model; relative to this session's directory unless absolute.",
    )
    template_pixel_size: float | None = Field(
        default=None, gt=0, description="Their pixel size, A; not set: their header's."
    )
    template_ctf: bool = Field(
        default=True,
        description="Show those templates through each micrograph's CTF; false if they have one.",
    )
    model: str | None = Field(
        default=None,
        description="For method network: weights that icefloe train wrote; not set: the general "
        "model. Relative to this session's directory unless absolute.",
    )
    blob: BlobChoices = Field(
        default=BlobChoices(),
        description="Method blob, and auto and learn where they find no reference.",
    )
    template: TemplateChoices = Field(
        default=TemplateChoices(),
        description="Matching of templates: methods auto, learn and template.",
    )
    network: NetworkChoices = Field(
        default=NetworkChoices(), description="Methods network and learn."
    )
    limits: PickLimits = Field(
        default=PickLimits(),
        description="Limits of score and power, chosen after picking among the picks and the best "
        "peaks below the threshold.",
    )

    @property
    def own_templates(self) -> bool:
        """Whether templates are made from the session's own exposures."""
        return self.method in ("auto", "learn")

    @model_validator(mode="after")
    def _possible(self) -> PickSettings:
        if self.method == "blob" and self.diameter is None:
            raise SettingsError(
                "pick.method is 'blob' and pick.diameter is not set",
                "the particle diameter, A",
                "Give --diameter, or use --pick auto, which finds it",
            )
        if self.method == "template" and self.templates is None:
            raise SettingsError(
                "pick.method is 'template' and pick.templates is not set",
                "class averages (.mrcs, STAR, .cs), a map or an atomic model",
                "Give --templates FILE, or use --pick auto, which makes its own",
            )
        # What the pickers check beyond single values.
        for section, make in (
            ("blob", self.blob_settings),
            ("template", self.match_settings),
            ("network", self.network_settings),
        ):
            try:
                make()
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise SettingsError(f"[pick.{section}]: {message}") from None
        return self

    def blob_settings(self, diameter: tuple[float, float] | None = None) -> BlobSettings:
        """Return the settings of `pick_blobs`, with another diameter if one is given."""
        return BlobSettings.model_validate(
            {
                **self.blob.model_dump(),
                "diameter": diameter or self.diameter,
                "contrast": self.contrast,
            }
        )

    def match_settings(self) -> MatchSettings:
        """Return the settings of `pick_templates`; of a range of diameters, with its middle."""
        middle = None if self.diameter is None else sum(self.diameter) / 2
        return MatchSettings.model_validate(
            {**self.template.model_dump(), "diameter": middle, "contrast": self.contrast}
        )

    def network_settings(self) -> NetworkSettings:
        """Return the settings of `pick_network`."""
        return NetworkSettings.model_validate(
            {**self.network.model_dump(), "contrast": self.contrast}
        )


def migrated_pick(old: object) -> object:
    """Return today's section for one of schema 1, which held the settings of `pick_blobs`."""
    if not isinstance(old, Mapping):
        return old  # refused where the file is read
    diameter = old.get("diameter", "")
    section = {k: v for k, v in old.items() if k in _SHARED}
    blob = {k: v for k, v in old.items() if k not in _SHARED}
    return {**section, "method": "none" if diameter in ("", None) else "blob", "blob": blob}
