"""Secrets do not reach logs, and what is not secret stays readable."""

import logging

import pytest

from tasks.runtime.redaction import MASK, RedactingFilter, redact

CANARY = "c4n4ry-S3cr3t-9f"


@pytest.mark.parametrize(
    "text",
    [
        f"postgres://user:{CANARY}@db.example/x",
        f"redis://:{CANARY}@cache:6379/0",
        f"https://{CANARY}@git.example/x",
        f"postgres://user:a@{CANARY}@db.example/x",
        f"https://host/path?a=1&token={CANARY}&b=2",
        f"https://store.example/x?sv=2024-01-01&sig={CANARY}&se=2",
        f"https://bucket.s3/x?X-Amz-Signature={CANARY}",
        f"https://host/?api_key={CANARY}#top",
        f"AWS_SECRET_ACCESS_KEY={CANARY} python run",
        f"password: {CANARY}",
        f"'api-key': '{CANARY}'",
        f'"token": "{CANARY}"',
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Basic {CANARY}'}}",
    ],
)
def test_secrets_are_masked_in_every_form(text):
    """A key in a log that outlives the machine."""
    masked = redact(text)
    assert CANARY not in masked
    assert MASK in masked


@pytest.mark.parametrize("form", ["hf_" + "a" * 34, "AKIA" + "A1" * 8, "ghp_" + "b" * 36])
def test_known_token_forms_are_masked_wherever_they_stand(form):
    """A token without a name beside it."""
    assert form not in redact(f"failed with {form} at line 3")


def test_values_of_secret_environment_variables_are_masked(monkeypatch):
    """A library's error that quotes the password it was given."""
    monkeypatch.setenv("MY_SERVICE_PASSWORD", CANARY)
    assert redact(f"login as bob with {CANARY} failed") == f"login as bob with {MASK} failed"


def test_ordinary_text_is_left_alone(monkeypatch):
    """Messages about tokens and keys, unreadable by masking."""
    for name in ("TOKENIZERS_PARALLELISM", "TOKENS_PER_BATCH"):
        monkeypatch.setenv(name, "false-flag")
    for text in (
        "max_length_tokens = 64; 3 tokens are unknown to the tokenizer",
        "key 5f2a: cached, tokenizer: bpe",
        "num_tokens: 123456789, tokenizer: wordpiece",
        "https://example.org/model?revision=abcdefgh",
        "https://example.org?mail=bob@example.org, file:///tmp/a@b, models:/name@champion",
        "hf://org/name@abc123 and hf://datasets/org/name@main/file.csv; sqlite:////tmp/x@y.db",
        "a basic understanding of authorization; pad_token_id=0",
        "tokens=1234567 key=value-of-plan",
    ):
        assert redact(text) == text


def test_the_log_filter_masks_formatted_arguments(caplog):
    """Masking the template and printing the argument."""
    logger = logging.getLogger("test-redaction")
    redacting = RedactingFilter()
    logger.addFilter(redacting)
    try:
        logger.warning("connect to %s", f"s3://a:{CANARY}@host")
    finally:
        logger.removeFilter(redacting)
    assert CANARY not in caplog.text
    assert MASK in caplog.text


def test_tracebacks_in_a_log_are_masked_too(monkeypatch):
    """`logger.exception` prints the connection string of the library that failed."""
    monkeypatch.setenv("MY_SERVICE_PASSWORD", CANARY)
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    logger = logging.Logger("canary")
    handler = Keep()
    handler.addFilter(RedactingFilter())
    logger.addHandler(handler)
    try:
        raise OSError(f"refused {CANARY}")
    except OSError:
        logger.exception("it failed")
    assert CANARY not in lines[0]
    assert f"OSError: refused {MASK}" in lines[0]
    assert "Traceback" in lines[0]
