"""Passwords in files. They are read for each login, so that they can be changed while programs run."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from redis.credentials import CredentialProvider

_OPTION = "password_file"
_MEND = "write the password into it"


class UnusablePassword(Exception):
    """The file with the password cannot be read, or holds none."""


class PasswordFile(CredentialProvider):
    """Reads the password from a file each time that redis-py logs in."""

    def __init__(self, file: str, user: str | None) -> None:
        self.file = file
        self.user = user
        self.used = ""  # at the last login

    def get_credentials(self) -> tuple[str, str] | tuple[str]:
        """User and password, or the password alone.

        Raises:
            UnusablePassword: there is none.
        """
        self.used = read_password(self.file)
        return (self.user, self.used) if self.user else (self.used,)

    async def get_credentials_async(self) -> tuple[str, str] | tuple[str]:
        return await asyncio.to_thread(self.get_credentials)


def read_password(file: str) -> str:
    """The password in a file: all of it, but for the ends of lines at its end.

    Raises:
        UnusablePassword: there is none.
    """
    try:
        found = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UnusablePassword(f"the password file {file} cannot be read ({why}); {_MEND}") from None
    if not found:
        raise UnusablePassword(f"the password file {file} is empty; {_MEND}")
    return found


def password_from_file(url: str) -> tuple[str, PasswordFile | None]:
    """A URL without what redis-py does not know, and what reads the password, if the URL names a file of it.

    Raises:
        TwoPasswords: the URL has a password besides.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if _OPTION not in options:
        return url, None
    file = options.pop(_OPTION)
    if parts.password is not None or "password" in options:
        raise TwoPasswords
    user = options.pop("username", None) or (unquote(parts.username) if parts.username else None)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=place, query=urlencode(options))), PasswordFile(file, user)


class TwoPasswords(ValueError):
    """A URL has a password, and names a file of one."""
