"""From a URL to a connection, and from what goes wrong to one of the library's errors. No message shows a password.

All options are in the URL, those of TLS too, so that a deployment changes one setting only, REDIS_URL:

    redis://user:password@host:6379/0        special characters percent-encoded
    rediss://host:6379/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/me.pem&ssl_keyfile=/etc/me.key
    unix:///run/redis.sock?db=0
    redis://user@host:6379/0?password_file=/run/secrets/redis    read again for each connection, so it may change

redis-py makes the connections and does no more. Its retries are off: the callers decide when to connect again.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis.asyncio as redis
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from eventlib.broker.passwords import TwoPasswords, UnusablePassword, password_from_file
from eventlib.errors import AccessDenied, BrokerError, BrokerFull, BrokerUnavailable, MissingGroup

# What a URL may set. The library decides the rest: timeouts, retries, how replies are read.
_OPTIONS = {"db", "username", "password", "password_file", "client_name", "socket_keepalive"}
_TLS_OPTION = "ssl_"
# `_connected` sends no name of a client. Recent versions of redis-py look theirs up in the files of the installed
# packages for each connection, which takes half a millisecond, unless they are told at once that none is wanted.
_NAMELESS: dict[str, None] = {"driver_info": None} if find_spec("redis.driver_info") else {}
_DENIED = (redis_errors.AuthenticationError, redis_errors.NoPermissionError)
# With the last two, a server refuses a command or a key to a script. Redis 7.0 does so with the very last one.
_DENIALS = ("NOAUTH", "WRONGPASS", "NOPERM", "ACL failure", "The user executing the script can't")
# Error codes of a server that will serve again later, or whose replacement will; and what each one means.
UNAVAILABLE = {
    "LOADING": "it reads its data from disk after a start",
    "READONLY": "it is a replica, during a failover for example",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "its cluster does not serve all slots",
    "TRYAGAIN": "its cluster moves a slot",
    "NOREPLICAS": "too few replicas are connected (min-replicas-to-write)",
    "MISCONF": "it cannot write to its disk, which may be full",
    "OOM": "it has no memory left (maxmemory)",
    "BUSY": "a script of another program runs for too long",
    "UNBLOCKED": "it ended a blocking call because its role has changed",
}
_CLIENT_CERTIFICATE = "If it wants a client certificate, name it: ?ssl_certfile=FILE&ssl_keyfile=FILE"
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64  # Source: OpenSSL, x509_vfy.h, X509_V_ERR_*


class Connector:
    """Makes connections for one URL.

    Raises:
        BrokerError: the URL, an option or a file that it names is wrong.
    """

    def __init__(self, url: str) -> None:
        self.where = without_password(url)
        self.user = "default"
        try:
            _check_options(url)
            plain, self._password = password_from_file(url)
            # No socket_timeout: callers have timeouts of their own.
            pool = redis.ConnectionPool.from_url(
                plain,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,
                socket_connect_timeout=None,
                credential_provider=self._password,
                **_NAMELESS,
            )
            self._new = cast(Callable[[], redis.Connection], pool.make_connection)
            connection = self._new()  # this raises now if an option is wrong
            self.user = (self._password.user if self._password else connection.username) or self.user
            if self._password:
                self._password.get_credentials()
            if isinstance(connection, redis.SSLConnection):
                _trust_whom_it_names(connection)
                connection.ssl_context.get()
        except _UnknownOption as option:
            problem = f"URL option {option.args[0]!r} cannot be set; the options are"
            raise BrokerError(self.where, f"{problem} {', '.join(sorted(_OPTIONS))}, ssl_*") from None
        except UnusablePassword as error:
            raise BrokerError(self.where, str(error)) from None
        except TwoPasswords:
            raise BrokerError(self.where, "the URL has a password and a password_file; leave one of them out") from None
        except OSError as error:  # ssl.SSLError is one
            problem = f"files for TLS cannot be used ({error}); check ssl_ca_certs, ssl_certfile and ssl_keyfile of the"
            raise BrokerError(self.where, f"{problem} URL, or ca_file, cert_file and key_file of settings") from None
        except TypeError:
            raise BrokerError(self.where, "the URL has an option ssl_... that redis-py does not know") from None
        except (ValueError, redis_errors.RedisError):
            problem = "no valid Redis URL; write redis://user:password@host:6379/0, special characters percent-encoded"
            raise BrokerError(self.where, problem) from None  # the original error may show the password

    async def connect(self, timeout_s: float) -> asyncio.StreamWriter:
        """Make a connection and log in.

        Raises:
            BrokerUnavailable, AccessDenied, BrokerError: that failed, or took longer than `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._logged_in()
        except TimeoutError as error:
            raise BrokerUnavailable(self.where, silence(timeout_s, self.where)) from error
        except UnusablePassword as error:
            raise BrokerUnavailable(self.where, str(error)) from error
        except (redis_errors.RedisError, OSError, UnicodeError, asyncio.IncompleteReadError) as error:
            if self._password is None or not _is_of(error, redis_errors.AuthenticationError):
                raise translate(error, self.where) from error
            hint = "write the right one there: it is read again for each connection"
            refused = f"the server refused the password in {self._password.file} ({error})"
            raise OldPassword(self.where, f"{refused}; {hint}") from error

    async def _logged_in(self) -> asyncio.StreamWriter:
        try:
            return await self._connected()
        except redis_errors.RedisError as error:
            if self._password is None or not _is_of(error, redis_errors.AuthenticationError):
                raise
            if self._password.used == self._password.get_credentials()[-1]:
                raise
            return await self._connected()  # the password was changed between reading the file and the login

    async def _connected(self) -> asyncio.StreamWriter:
        connection = self._new()
        for name in ("lib_name", "lib_version", "driver_info"):  # as versions of redis-py call them
            # It would send CLIENT SETINFO, which few users may: each login would stand in the server's ACL LOG.
            setattr(connection, name, None)
        if isinstance(connection, redis.SSLConnection):
            _trust_whom_it_names(connection)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
            with suppress(redis_errors.ResponseError):  # a proxy may not know it
                # Every user may send this. What does not answer, or speaks another protocol, is found out here.
                await connection.send_command("HELLO", "2")
                await connection.read_response()
            reader, writer = connection._reader, connection._writer
            if reader is None or writer is None or reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]
                # The protocol that takes the connection over would not be told of this.
                raise ConnectionError("it closed the connection after the login")
            connection._reader = connection._writer = None  # so that `disconnect` does not close it
            return writer
        finally:
            await connection.disconnect(nowait=True)


def _trust_whom_it_names(connection: redis.SSLConnection) -> None:
    """Trust no authority but the one that the URL names, if it names one.

    redis-py would trust all authorities of this machine besides, and read their files for each connection.
    """
    own = connection.ssl_context
    if not (own.ca_certs or own.ca_data or own.ca_path):
        return
    context = ssl.create_default_context(cafile=own.ca_certs, capath=own.ca_path, cadata=own.ca_data)
    context.check_hostname = own.check_hostname
    context.verify_mode = own.cert_reqs
    for flag in getattr(own, "include_verify_flags", None) or ():
        context.verify_flags |= flag
    for flag in getattr(own, "exclude_verify_flags", None) or ():
        context.verify_flags &= ~flag
    if own.certfile or own.keyfile:
        context.load_cert_chain(own.certfile, own.keyfile, getattr(own, "password", None))  # type: ignore[arg-type]
    if own.min_version is not None:
        context.minimum_version = own.min_version
    if own.ciphers is not None:
        context.set_ciphers(own.ciphers)
    own.context = context


class OldPassword(BrokerUnavailable):
    """The server refuses the password in a file. The file may get another one, so waiting may help."""


class UnknownScript(BrokerError):
    """The server does not know the script with this hash. Its text has to be sent."""


class _UnknownOption(Exception):
    """A URL has an option that it may not have."""


def _check_options(url: str) -> None:
    parts = urlsplit(url)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS and not (name.startswith(_TLS_OPTION) and parts.scheme == "rediss"):
            # Text that is no option name, or that comes before an @, may be a part of a password.
            raise _UnknownOption(name if re.fullmatch(r"[a-z_]+", name) and "@" not in parts.query else "?")
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("no database number: redis-py would use database 0")


def with_options(url: str, user: str | None, options: Mapping[str, str]) -> str:
    """The URL with a user, if it has none, and with options that it does not have yet."""
    parts = urlsplit(url)
    place = f"{quote(user, safe='')}@{parts.netloc}" if user and "@" not in parts.netloc else parts.netloc
    known = dict(parse_qsl(parts.query, keep_blank_values=True))
    added = urlencode({name: value for name, value in options.items() if name not in known})
    return urlunsplit(parts._replace(netloc=place, query="&".join(filter(None, (parts.query, added)))))


def without_password(url: str) -> str:
    """The URL as messages and reports may show it: without user, password and query, even if it is misspelt."""
    scheme, _, rest = url.partition(":")
    if "@" not in url and "/" not in url:  # no URL, for example a host and a port alone
        return re.split(r"[?#]", url)[0]
    if "@" in re.split(r"[?#]", rest, maxsplit=1)[-1] and re.search(r"[?#]", rest):
        return f"{scheme}://***"  # a password with ? or # in it, or a query with @: where it ends is unclear
    _, at, after = rest.rpartition("@")
    place = re.split(r"[?#]", after)[0].lstrip("/")
    slash = "/" if scheme == "unix" else ""
    return f"{scheme}://{'***@' if at else ''}{slash}{place}"


def shows_password(url: str) -> bool:
    """Whether there is, or may be, a password in the URL."""
    return ":" in url.partition("://")[2].rpartition("@")[0] or bool(re.search(r"[?&](ssl_)?password=", url))


def refusal(text: str, where: str, user: str = "") -> BrokerError:
    """The library's error for an error reply. `user` is who has logged in.

    A reply begins with a code, except where Redis 7.0 refuses a command to a script.
    """
    code = text.partition(" ")[0]
    if any(denial in text for denial in _DENIALS):
        return _denied(text, where, user)
    if code == "NOSCRIPT":
        return UnknownScript(where, text)
    if code == "OOM":
        return BrokerFull(where, f"{text}; raise maxmemory, or delete what is no longer needed")
    if "NOGROUP" in text:
        return MissingGroup(where, text)
    if code in UNAVAILABLE:
        return BrokerUnavailable(where, f"Redis cannot serve requests now, because {UNAVAILABLE[code]} ({text})")
    return BrokerError(where, text)


def translate(error: Exception, where: str) -> BrokerError:
    """The library's error for an error of redis-py or of the socket while a connection was made."""
    text = str(error) or type(error).__name__
    causes = (error, error.__cause__, error.__context__)  # where redis-py keeps why a connection was refused
    if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        return _tls_error(tls, where)
    if _is_of(error, *_DENIED):
        return _denied(text, where)
    if isinstance(error, redis_errors.ResponseError):
        return refusal(text, where)
    hint = " Does it want TLS (rediss://)?" if where.startswith("redis:") else _tls_hint(where)
    return BrokerUnavailable(where, f"Redis does not answer ({text}); is it running, is the URL right?{hint}")


def _is_of(error: Exception, *kinds: type[Exception]) -> bool:
    return any(isinstance(cause, kinds) for cause in (error, error.__cause__, error.__context__))


def _denied(text: str, where: str, user: str = "") -> AccessDenied:
    who = f"user {user!r}" if user and user not in text else "us"  # newer servers name the user
    return AccessDenied(where, f"the server refused {who} ({text}); {_denial_hint(text)}")


def silence(timeout_s: float, where: str) -> str:
    """The message about a server that was silent for so long."""
    return f"Redis has not answered for {timeout_s:.0f} s; is it busy?{_tls_hint(where)}"


def _tls_hint(where: str) -> str:
    """A hint for a server that was expected to speak TLS and is silent."""
    return f" Does it speak TLS on this port? {_CLIENT_CERTIFICATE}" if where.startswith("rediss:") else ""


def _denial_hint(text: str) -> str:
    if "ermission" in text or "script" in text:
        return "give this user the rules that `workbench acl ROLE`, or eventlib.acl_rules, lists"
    return "check user, password and permissions"


def _tls_error(error: ssl.SSLError, where: str) -> BrokerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        hints = {
            _EXPIRED: "renew it",
            _NOT_YET_VALID: "check both clocks",
            _WRONG_HOST: "name the host that it was made for in the URL",
            _WRONG_ADDRESS: "name the host that it was made for in the URL",
        }
        hint = hints.get(error.verify_code, "name the authority that signed it: ?ssl_ca_certs=FILE")
        return AccessDenied(where, f"we do not trust the server's certificate ({error.verify_message}); {hint}")
    reason = error.reason or str(error)
    if "ALERT" in reason:
        return AccessDenied(where, f"the server refused our side of TLS ({reason}). {_CLIENT_CERTIFICATE}")
    return BrokerUnavailable(
        where, f"TLS failed ({reason}); does the server speak TLS on this port, or is it redis://?"
    )
