"""Addresses of machines, `[user@]host[:port]`, as a person writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hsiedge.errors import OptionError

# What OpenSSH itself takes from a command line since 9.6: a ProxyCommand of the user's config may hand it to a shell.
_USER = re.compile(r"[^-\s'`\"\\;&<>|(){}$@\x00-\x1f\x7f][^\s'`\"\\;&<>|(){}$\x00-\x1f\x7f]*")
_NAME = re.compile(r"\w[\w.-]*")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?")


@dataclass(frozen=True)
class Address:
    """Address for ssh: `host` is a name, an address or an alias of ssh_config; `user` and `port` are None for what it says."""

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port is not None else self.host
        return f"{self.login(host)}:{self.port}" if self.port is not None else self.login(host)

    def login(self, host: str | None = None) -> str:
        """Login in the form that ssh takes, `user@host`."""
        host = self.host if host is None else host
        return f"{self.user}@{host}" if self.user is not None else host


def parse_address(text: str) -> Address:
    """Reads "pi@raspberrypi.local", "field-pi", "10.0.0.7:2222", "pi@[fe80::1%eth0]:22" or "::1".

    Raises:
        OptionError: it is none of these.
    """
    user, at, place = text.rpartition("@")
    brackets = re.fullmatch(r"\[(?P<inner>[^\[\]]*)\](?::(?P<port>\d{1,5}))?", place)
    if brackets is not None:
        host, port = brackets["inner"], brackets["port"]
        fits = bool(_IPV6.fullmatch(host) or _NAME.fullmatch(host))
    elif place.count(":") > 1:
        host, port, fits = place, None, bool(_IPV6.fullmatch(place))
    else:
        host, colon, port = place.partition(":")
        port = port if colon else None
        fits = bool(_NAME.fullmatch(host)) and (port is None or re.fullmatch(r"\d{1,5}", port) is not None)
    if not fits or (at and not _USER.fullmatch(user)):
        raise OptionError(
            "[USER@]HOST[:PORT] is expected, an IPv6 address with a port in brackets: pi@[::1]:22", option="on", value=text
        )
    if port is not None and not 1 <= int(port) <= 65535:
        raise OptionError(f"there is no port {port}", option="on", value=text)
    return Address(host, user if at else None, int(port) if port is not None else None)
