"""Market data that the market monitor collects from open sources. It contains no personal data."""

from decimal import Decimal
from typing import Literal

from pydantic import AwareDatetime, Field

from eventlib.catalog.vocabulary import Failure, Id, Name, Part
from eventlib.events.schema import Event


class Observation(Part):
    """One number at one moment."""

    observed_at: AwareDatetime = Field(description="When the number was true, by the source's clock.")
    value: Decimal = Field(description="The number, exactly as the source gave it.")


class MarketDataCollected(Event, type="market.data.collected", version=1, stream="market"):
    """New observations of one series. Published by the market monitor after each visit to a source that has some."""

    collection_id: Id = Field(description="Names the visit to the source.")
    provider: Name = Field(description="Which open source was visited.")
    series: Name = Field(description="What was observed, such as prices/ceramics/eu.")
    unit: str = Field(min_length=1, max_length=32, description="What the values count, such as EUR or searches/day.")
    observations: tuple[Observation, ...] = Field(
        min_length=1, max_length=500, description="The observations that are new, oldest first."
    )


class MarketDataCollectionFailed(Event, type="market.data.collection_failed", version=1, stream="market"):
    """A source could not be read. Published by the market monitor when it gives up until the next visit."""

    collection_id: Id = Field(description="Names the visit to the source.")
    provider: Name = Field(description="Which open source was visited.")
    series: Name = Field(description="What should have been observed.")
    next_visit_at: AwareDatetime = Field(description="When the source is visited again.")
    failure: Failure = Field(description="Why the visit was given up.")


class MarketTrendDetected(Event, type="market.trend.detected", version=1, stream="market"):
    """A series moves more than chance explains. Published by the market monitor, once for each movement."""

    trend_id: Id = Field(description="Names the movement.")
    series: Name = Field(description="Which series moves.")
    direction: Literal["rising", "falling"] = Field(description="Which way it moves.")
    change_ratio: float = Field(ge=-1.0, description="How far from the window's first value: 0.2 is 20 % up.")
    confidence: float = Field(ge=0.0, le=1.0, description="How likely it is that this is not chance.")
    window_began_at: AwareDatetime = Field(description="The first observation that was looked at.")
    window_ended_at: AwareDatetime = Field(description="The last observation that was looked at.")
