"""Secrets out of everything that is logged, shown or tracked.

One function, used by the logging filter, the error printer and the MLflow parameter writer.
"""

from __future__ import annotations

import logging
import os
import re
import traceback

MASK = "[redacted]"
# Up to the last @ of what may be a host: a password may hold one, or be all there is.
_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"<>]+(?=@)")
_QUERY_SECRET = re.compile(
    r"(?i)([?&;](?:[\w-]*(?:token|secret|key|password|signature|credential)[\w-]*|sig)=)[^&\s#]+"
)
# `token` must end the name: num_tokens, tokenizer and the like are everyday words here.
_ASSIGNED_SECRET = re.compile(
    r"(?i)\b((?:[\w-]*token|[\w-]*(?:secret|password|passwd|api[_-]?key|access[_-]?key)[\w-]*)"
    r"[\"']?\s*[=:]\s*[\"']?)(?!\[redacted\])[^\s,;'\"&]{6,}"
)
_AUTHORIZATION = re.compile(
    r"\b(Bearer\s+|(?i:authorization)[\"']?\s*[=:]\s*[\"']?Basic\s+)[^\s,;'\"]+"
)
_KNOWN_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,})\b"
)
_SECRET_NAME = re.compile(
    r"(?i)token(?![a-z])|secret|password|passwd|api_?key|access_?key|auth_string"
)
_MIN_SECRET_CHARS = 6


def redact(text: str) -> str:
    """`text` with credentials masked: URL userinfo, secret parameters, known token forms, and the
    values of environment variables whose names say that they are secret."""
    text = _USERINFO.sub(MASK, text)
    text = _QUERY_SECRET.sub(rf"\1{MASK}", text)
    text = _ASSIGNED_SECRET.sub(rf"\1{MASK}", text)
    text = _AUTHORIZATION.sub(rf"\1{MASK}", text)
    text = _KNOWN_FORMS.sub(MASK, text)
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET_CHARS and _SECRET_NAME.search(name):
            text = text.replace(value, MASK)
    return text


class RedactingFilter(logging.Filter):
    """A logging filter that rewrites each record's message and traceback through `redact`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record's formatted message and traceback; never drops a record."""
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[0]:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_info = None  # formatters then print the text
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
