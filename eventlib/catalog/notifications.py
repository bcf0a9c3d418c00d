"""Messages to users. Only the signal service knows their addresses; no event carries them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field

from eventlib.catalog.vocabulary import PERSONAL, Attempt, Failure, Id, Part, Priority, UserId
from eventlib.events.schema import Event

Channel = Literal["email", "push", "sms", "in_app"]


def _each_once(channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    if len(set(channels)) < len(channels):
        raise ValueError("name each channel once")
    return channels


# A tuple, not a set: the same event must have the same bytes in every program.
Channels = Annotated[
    tuple[Channel, ...],
    Field(min_length=1, max_length=4, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_each_once),
]


class Message(Part):
    """What the user will read."""

    title: str = Field(min_length=1, max_length=200, description="One line.", json_schema_extra=PERSONAL)
    body: str = Field(max_length=4000, description="The rest, as plain text.", json_schema_extra=PERSONAL)


class NotificationRequested(Event, type="notification.requested", version=1, stream="notifications"):
    """A user has to be notified. Published by any service; no service waits for the answer."""

    notification_id: Id = Field(description="Names the notification; every answer carries it.")
    user_id: UserId = Field(description="Who has to be notified.")
    message: Message = Field(description="What is sent, the same on every channel.")
    channels: Channels = Field(description="The channels; it is sent on each of them.")
    priority: Priority = Field(default="normal", description="Critical notifications are sent at night too.")
    expires_at: AwareDatetime | None = Field(default=None, description="After this time it need not be sent any more.")


class NotificationSent(Event, type="notification.sent", version=1, stream="notifications"):
    """A channel's provider has taken a notification. Published by the signal service, once for each channel."""

    notification_id: Id = Field(description="The notification that was asked for.")
    user_id: UserId = Field(description="Who is notified.")
    channel: Channel = Field(description="Where it was sent.")
    sent_at: AwareDatetime = Field(description="When the provider took it.")

    @classmethod
    def answering(cls, requested: NotificationRequested, *, channel: Channel, sent_at: AwareDatetime) -> Self:
        """Answer a request for one of its channels.

        Raises:
            ValueError: the request did not name this channel.
        """
        return cls(
            notification_id=requested.notification_id,
            user_id=requested.user_id,
            channel=_asked_for(channel, requested),
            sent_at=sent_at,
        )


class NotificationFailed(Event, type="notification.failed", version=1, stream="notifications"):
    """A channel will not carry a notification. Published by the signal service when it gives the channel up."""

    notification_id: Id = Field(description="The notification that was asked for.")
    user_id: UserId = Field(description="Who is not notified on this channel.")
    channel: Channel = Field(description="Where it could not be sent.")
    attempts: Attempt = Field(description="How often it was tried.")
    failure: Failure = Field(description="Why the channel was given up.")

    @classmethod
    def answering(cls, requested: NotificationRequested, *, channel: Channel, attempts: int, failure: Failure) -> Self:
        """Answer a request for one of its channels.

        Raises:
            ValueError: the request did not name this channel.
        """
        return cls(
            notification_id=requested.notification_id,
            user_id=requested.user_id,
            channel=_asked_for(channel, requested),
            attempts=attempts,
            failure=failure,
        )


def _asked_for(channel: Channel, requested: NotificationRequested) -> Channel:
    if channel not in requested.channels:
        raise ValueError(f"{requested.notification_id} asked for {requested.channels}, not for {channel!r}")
    return channel
