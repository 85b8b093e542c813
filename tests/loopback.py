"""What tests of servers on this machine share."""

import urllib.error
import urllib.request


def answers(url):
    """Whether a server answers there, and that all is well."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
