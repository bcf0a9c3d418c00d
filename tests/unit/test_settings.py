"""Settings: where they are from, which goes first, and what is told of wrong ones."""

import os
from pathlib import Path

import pytest

import eventlib as ev
from eventlib.settings import Setting, all_settings, read_settings

OURS = ("EVENTLIB_", "REDIS_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eventlib.toml"


def test_nothing_is_set() -> None:
    loaded = read_settings()
    assert loaded.settings == ev.Settings() and loaded.origins == {}


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('[outage]\npolicy = "fail"\nwait_s = 5\n[health]\nport = 8080\n')
    monkeypatch.setenv("EVENTLIB_SETTINGS_FILE", str(file))
    monkeypatch.setenv("EVENTLIB_OUTAGE_WAIT_S", "7.5")
    loaded = read_settings()
    outage, health = loaded.settings.outage, loaded.settings.health
    assert (outage.policy, outage.wait_s, health.port, health.host) == ("fail", 7.5, 8080, "127.0.0.1")
    assert loaded.origins == {
        "outage.policy": str(file),
        "outage.wait_s": "environment",
        "health.port": str(file),
    }


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own default as text is what it was; an empty variable sets nothing."""
    settings = ev.Settings()
    for setting in all_settings():
        value = getattr(getattr(settings, setting.section), setting.name)
        monkeypatch.setenv(setting.variable, "" if value is None else str(value))
    loaded = read_settings()
    assert loaded.settings == settings
    assert len({setting.variable for setting in all_settings()}) == len(list(all_settings()))
    assert Setting("redis", "password_file").variable == "REDIS_PASSWORD_FILE"


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets these where a service is called redis, and nobody owns such plain names."""
    for name in ("REDIS_PORT", "REDIS_SERVICE_HOST", "HEALTH", "NAMESPACE", "REDIS", "OUTAGE"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:6379")
    assert read_settings().settings == ev.Settings()


def test_what_belongs_to_the_url_is_put_into_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://host:1/0")
    monkeypatch.setenv("REDIS_USER", "a@b")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "/run/secrets/a b")
    monkeypatch.setenv("REDIS_CA_FILE", "/etc/ca.pem")
    assert ev.load_settings().redis.address() == (
        "rediss://a%40b@host:1/0?ssl_ca_certs=%2Fetc%2Fca.pem&password_file=%2Frun%2Fsecrets%2Fa+b"
    )
    other = ev.load_settings(url="rediss://me@other:2/0?password_file=mine").redis.address()
    assert other == "rediss://me@other:2/0?password_file=mine&ssl_ca_certs=%2Fetc%2Fca.pem"
    with pytest.raises(ev.InvalidSettings, match="rediss://"):
        ev.load_settings(url="redis://other:2/0").redis.address()


def test_outage_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ev.Settings().outage.outage_policy() == ev.Wait(30.0)
    monkeypatch.setenv("EVENTLIB_OUTAGE_POLICY", "spool")
    with pytest.raises(ev.InvalidSettings, match=r"outage.spool_file: policy is spool, so name its file"):
        ev.load_settings().outage.outage_policy()
    monkeypatch.setenv("EVENTLIB_OUTAGE_SPOOL_FILE", "a.spool")
    assert ev.load_settings().outage.outage_policy() == ev.Spool(Path("a.spool"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[outage]\npolcy = 'fail'\n", "outage.polcy: is no setting; did you mean outage.policy?"),
        ("[outages]\npolicy = 'fail'\n", "outages: is no section; did you mean outage?"),
        ("outage = 'fail'\n", "outage: is a section; write [outage] and below it name = value"),
        ("[health]\nport = 99999\n", "health.port: input should be less than or equal to 65535"),
        ("[outage]\npolicy = 'no'\n", "outage.policy: input should be 'wait', 'fail' or 'spool'"),
        ("[bus]\nrefuse_eviction = 'perhaps'\n", "bus.refuse_eviction: input should be a valid boolean"),
        ("[redis]\nurl = 7\n", "redis.url: input should be a valid string"),
        ("[outage\n", "; docs/settings.md shows one"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_with_the_nearest_name(file: Path, text: str, told: str) -> None:
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ev.InvalidSettings) as caught:
        ev.load_settings(file)
    assert str(file) in str(caught.value) and told in str(caught.value)


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(ev.InvalidSettings, match="No such file or directory; correct the path"):
        ev.load_settings(file)


def test_an_unknown_variable_is_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTLIB_OUTAGE_POLCY", "fail")
    with pytest.raises(ev.InvalidSettings, match=r"EVENTLIB_OUTAGE_POLCY: .* did you mean EVENTLIB_OUTAGE_POLICY\?"):
        ev.load_settings()


def test_a_wrong_value_is_told_by_its_variable_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTLIB_HEALTH_PORT", "s3cr3t")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@host")
    with pytest.raises(ev.InvalidSettings, match="EVENTLIB_HEALTH_PORT: input should be a valid integer") as caught:
        ev.load_settings()
    monkeypatch.delenv("EVENTLIB_HEALTH_PORT")
    assert "s3cr3t" not in str(caught.value) + repr(ev.load_settings()) + ev.load_settings().model_dump_json()
