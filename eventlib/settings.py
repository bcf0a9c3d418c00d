"""What a deployment sets from outside: environment variables, then one TOML file, then the defaults.

What a program passes to a call goes before all of them. `Settings` is the one list: names, defaults and limits.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from eventlib.broker.connection import with_options
from eventlib.errors import InvalidSettings
from eventlib.publish.outage import Fail, OutagePolicy, Spool, Wait
from eventlib.system_errors import with_mend
from eventlib.thresholds import Thresholds

FILE = "EVENTLIB_SETTINGS_FILE"
_PREFIX = "EVENTLIB_"
_OWN_PREFIX = {"redis": "REDIS_"}  # variables that many programs share


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RedisSettings(_Section):
    """Where the server is, and who connects. A program that passes a URL of its own uses nothing of this section."""

    url: SecretStr | None = Field(None, description="redis://user@host:6379/0, with TLS rediss://host:6379/0.")
    user: str | None = Field(None, description="The user who logs in, if the URL names none.")
    password_file: Path | None = Field(
        None, description="A file with the password. It is read again for each connection, so it may change."
    )
    ca_file: Path | None = Field(None, description="TLS: the authority that signed the server's certificate.")
    cert_file: Path | None = Field(None, description="TLS: the certificate of this program.")
    key_file: Path | None = Field(None, description="TLS: the key of that certificate.")

    def address(self) -> str | None:
        """The URL with all that belongs to it. It may hold a password, so show `without_password` of it.

        Raises:
            InvalidSettings: there are files for TLS, and the URL is one without TLS.
        """
        if self.url is None:
            return None
        url = self.url.get_secret_value()
        files = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        options = {name: str(file) for name, file in files.items() if file is not None}
        if options and not url.startswith("rediss://"):
            raise InvalidSettings("redis.url", "there are files for TLS, so write rediss:// instead of redis://")
        if self.password_file is not None:
            options["password_file"] = str(self.password_file)
        return with_options(url, self.user, options)


class BusSettings(_Section):
    """What `connect` does."""

    namespace: str = Field("ev", description="What all keys start with.")
    refuse_eviction: bool = Field(False, description="Refuse a server that evicts keys when it is full.")


class OutageSettings(_Section):
    """What a publish does while Redis does not answer."""

    policy: Literal["wait", "fail", "spool"] = Field("wait", description="wait, fail at once, or spool to a file.")
    wait_s: float = Field(30.0, ge=0, le=7 * 86_400, description="For how long `wait` waits.")
    spool_file: Path | None = Field(None, description="The file of `spool`.")
    spool_bytes_max: int = Field(256 * 2**20, ge=1, description="How large that file may become.")

    def outage_policy(self) -> OutagePolicy:
        """The policy for `connect`.

        Raises:
            InvalidSettings: it is to spool, and no file is named.
        """
        if self.policy == "spool":
            if self.spool_file is None:
                raise InvalidSettings("outage.spool_file", "policy is spool, so name its file")
            return Spool(self.spool_file, self.spool_bytes_max)
        return Fail() if self.policy == "fail" else Wait(self.wait_s)


class RunningSettings(_Section):
    """How consumers end."""

    grace_s: float = Field(30.0, ge=0, description="How long handlers may go on when a program ends.")


class HealthSettings(_Section):
    """The endpoints of `Bus.serve_health`."""

    port: int = Field(8080, ge=0, le=65_535, description="TCP port; 0 takes a free one.")
    host: str = Field("127.0.0.1", description="Address to serve on.")
    blocked_s: float = Field(10.0, gt=0, description="/livez fails if the event loop stood still for so long.")
    deaf_s: float = Field(8.0, gt=0, description="/readyz fails if the server was silent for so long.")


class ExporterSettings(_Section):
    """What `workbench exporter` does where its options say nothing."""

    port: int = Field(9121, ge=0, le=65_535, description="TCP port; 0 takes a free one.")
    host: str = Field("127.0.0.1", description="Address to serve on.")
    every_s: float = Field(10.0, ge=1, le=3600, description="Seconds between two looks.")
    rate: float = Field(100.0, ge=1, le=10_000, description="The most commands sent to Redis within any second.")
    idle_after_s: float = Field(60.0, ge=1, description="A consumer is idle after so many seconds without a call.")
    streams_max: int = Field(500, ge=1, le=10_000, description="The most streams to look at.")


class Settings(_Section):
    """All settings of a deployment, in sections. Made by `load_settings`, or by hand for tests."""

    redis: RedisSettings = RedisSettings()
    bus: BusSettings = BusSettings()
    outage: OutageSettings = OutageSettings()
    running: RunningSettings = RunningSettings()
    health: HealthSettings = HealthSettings()
    exporter: ExporterSettings = ExporterSettings()
    thresholds: Thresholds = Thresholds()


_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its place in a file, its variable, its section's model."""

    section: str
    name: str

    @property
    def place(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def prefix(self) -> str:
        return _OWN_PREFIX.get(self.section, f"{_PREFIX}{self.section.upper()}_")

    @property
    def variable(self) -> str:
        return f"{self.prefix}{self.name.upper()}"

    @property
    def model(self) -> type[BaseModel]:
        return type(getattr(_DEFAULTS, self.section))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each place that is not its default where the value is from."""

    settings: Settings
    origins: Mapping[str, str]


def all_settings() -> Iterator[Setting]:
    """Every setting there is, section by section."""
    for section in Settings.model_fields:
        for name in Setting(section, "").model.model_fields:
            yield Setting(section, name)


def load_settings(file: str | Path | None = None, *, url: str | None = None) -> Settings:
    """The settings in force: environment variables, then the file, then the defaults.

    The file is the one that is given, or that EVENTLIB_SETTINGS_FILE names. A `url` goes before all others; user,
    password and certificates stay those of the settings.

    Raises:
        InvalidSettings: a name is unknown, a value cannot be, or the file cannot be read.
    """
    return read_settings(file, url=url).settings


def read_settings(file: str | Path | None = None, *, url: str | None = None) -> Loaded:
    """As `load_settings`, with the places where values are from."""
    file = file or os.environ.get(FILE)
    _refuse_unknown_variables()
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in (
        (str(file), _from_file(Path(file)) if file else {}),
        ("environment", _from_environment()),
        ("command line", {"redis": {"url": url}} if url else {}),
    ):
        for section, names in values.items():
            _check_section(section, names, origin)
            found.setdefault(section, {}).update(names)
            origins |= {f"{section}.{name}": origin for name in names}
    try:
        return Loaded(Settings.model_validate(found), origins)
    except ValidationError as error:
        raise InvalidSettings("settings", "; ".join(_problems(error, origins))) from None  # it shows values


def _from_file(file: Path) -> dict[str, Any]:
    import tomllib  # where there is a file

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(str(file), f"is no TOML: {error}; docs/settings.md shows one") from None
    except OSError as error:
        raise InvalidSettings(str(file), f"cannot be read: {with_mend(error)}") from None
    except UnicodeDecodeError as error:
        raise InvalidSettings(str(file), f"cannot be read: it is no text in UTF-8 ({error}); save it as such") from None


def _from_environment() -> dict[str, Any]:
    sections = {setting.section: setting for setting in all_settings() if os.environ.get(setting.variable)}
    if not sections:
        return {}  # as in most tests: the library takes a tenth of a second to import
    from pydantic_settings import EnvSettingsSource

    return {
        name: EnvSettingsSource(of.model, env_prefix=of.prefix, env_ignore_empty=True)()  # type: ignore[arg-type]
        for name, of in sections.items()
    }


def _refuse_unknown_variables() -> None:
    known = {setting.variable for setting in all_settings()} | {FILE}
    for name in os.environ:
        if name.startswith(_PREFIX) and name not in known:
            raise InvalidSettings(f"environment variable {name}", f"is no setting{_nearest(name, known)}")


def _check_section(section: str, names: Any, origin: str) -> None:
    """Refuse unknown names of a file, with the nearest one that there is."""
    if section not in Settings.model_fields:
        raise InvalidSettings(f"{origin}: {section}", f"is no section{_nearest(section, set(Settings.model_fields))}")
    if not isinstance(names, Mapping):
        raise InvalidSettings(f"{origin}: {section}", f"is a section; write [{section}] and below it name = value")
    known = {setting.place for setting in all_settings()}
    for name in names:
        if (place := f"{section}.{name}") not in known:
            raise InvalidSettings(f"{origin}: {place}", f"is no setting{_nearest(place, known)}")


def _nearest(name: str, known: set[str]) -> str:
    import difflib  # where a name is wrong

    near = difflib.get_close_matches(name, sorted(known), 1)
    return f"; did you mean {near[0]}?" if near else "; `workbench settings` shows all"


def _problems(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    variables = {setting.place: setting.variable for setting in all_settings()}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(map(str, problem["loc"][:2]))
        origin = origins.get(place, "")
        named = variables.get(place, place) if origin == "environment" else f"{origin}: {place}"
        yield f"{named}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
