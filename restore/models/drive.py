"""Google Drive: from a share link to an address that delivers bytes.

Drive answers a direct request for a large file with a page that asks whether one wants it although
it was not scanned for viruses. The page holds a form (today) or a link (formerly) with a token.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from restore.errors import ModelNotFound

__all__ = ["DRIVE_ORIGIN", "confirm_address", "direct_address", "file_id"]

DRIVE_ORIGIN = "https://drive.google.com"

_HOSTS = frozenset({"drive.google.com", "docs.google.com", "drive.usercontent.google.com"})
_FILE_PATH = re.compile(r"/file/(?:u/\d+/)?d/([A-Za-z0-9_-]{10,})")
_ID = re.compile(r"[A-Za-z0-9_-]{10,}")


def file_id(url: str, origin: str = DRIVE_ORIGIN) -> str | None:
    """Returns the id of the file that a Drive link shares; None for other links and for folders.

    Args:
        url: any address.
        origin: scheme and host that count as Google Drive besides Google's own.
    """
    parts = urlsplit(url)
    if parts.hostname not in _HOSTS and not url.startswith(origin + "/"):
        return None
    by_path = _FILE_PATH.search(parts.path)
    if by_path:
        return by_path[1]
    by_query = parse_qs(parts.query).get("id", [""])[0]
    return by_query if _ID.fullmatch(by_query) else None


def is_folder(url: str) -> bool:
    """Whether a link shares a Drive folder, which holds files but is none."""
    parts = urlsplit(url)
    return parts.hostname in _HOSTS and "/folders/" in parts.path


def direct_address(identity: str, origin: str = DRIVE_ORIGIN) -> str:
    """Returns the address that delivers a small file, or the page that asks about a large one."""
    return f"{origin}/uc?{urlencode({'export': 'download', 'id': identity})}"


def confirm_address(page: str, page_url: str, origin: str = DRIVE_ORIGIN) -> str:
    """Reads Drive's question page and returns the address that answers yes.

    Args:
        page: the page's HTML.
        page_url: where it came from.
        origin: scheme and host that may be answered besides Google's own.

    Raises:
        ModelNotFound: the page is another one: quota used up, sign-in, file gone.
    """
    form = _DownloadForm()
    form.feed(page)
    if form.action:
        address = urljoin(page_url, form.action)
        joint = "&" if urlsplit(address).query else "?"
        address += joint + urlencode(form.fields) if form.fields else ""
    elif form.link:
        address = urljoin(page_url, form.link)
    else:
        raise _refusal(page, page_url)
    host = urlsplit(address).hostname or ""
    if host not in _HOSTS and not address.startswith(origin + "/"):
        raise ModelNotFound(
            f"the page at {page_url} sends us to {host}",
            "Google Drive's own host",
            "Open the link in a browser, save the file and run `restore models import FILE`.",
        )
    return address


def _refusal(page: str, page_url: str) -> ModelNotFound:
    words = page.casefold()
    if "quota" in words or "too many users" in words:
        reason = "says that too many people fetched this file lately (quota)"
    elif "sign in" in words or "accounts.google.com" in words:
        reason = "asks for a sign-in"
    else:
        reason = "answered with a page instead of the file"
    return ModelNotFound(
        f"Google Drive {reason}: {page_url}",
        fix="Open the link in a browser, save the file and run `restore models import FILE`.",
    )


class _DownloadForm(HTMLParser):
    """Collects the download form's address and hidden fields, or the older confirm link."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.link = ""
        self.fields: dict[str, str] = {}
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {k: v or "" for k, v in attrs}
        if tag == "form" and "download" in facts.get("id", "") + facts.get("action", ""):
            self.action = facts.get("action", "")
            self._inside = True
        elif tag == "input" and self._inside and facts.get("type") == "hidden":
            self.fields[facts.get("name", "")] = facts.get("value", "")
        elif tag == "a" and "confirm=" in facts.get("href", ""):
            self.link = facts["href"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
