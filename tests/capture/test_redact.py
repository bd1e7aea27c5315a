"""Credentials never get into a journal; the words of training do."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitrack.capture.redact import HIDDEN, RULES, is_secret_name, redact, redact_words

# Put together here, so that scanners of this repository find no token.
_BODY = "aB3" * 20
_SECRETS = {
    "private key block": "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
    "url credentials": "https://mia:p@ss@example.org/repo",
    "authorization header": f"Authorization: Bearer {_BODY}",
    "bearer token": f"sent bearer {_BODY}",
    "signed url": f"https://s3.example.org/f?x=1&X-Amz-Signature={_BODY}",
    "aws key id": "AKIA" + "ABCD1234EFGH5678",
    "github token": "ghp_" + _BODY[:36],
    "gitlab token": "glpat-" + _BODY[:20],
    "slack token": "xoxb-" + "1234567890-abcdef",
    "wandb key": "wandb login --relogin " + "0123456789abcdef" * 2 + "01234567",
    "hugging face token": "hf_" + _BODY[:34],
    "openai-like key": "sk-proj-" + _BODY,
    "google token": "AIza" + _BODY[:35],
    "discord webhook": "https://discord.com/api/webhooks/777/" + _BODY,
    "telegram token": "0123456789:AA" + _BODY[:33],
    "stripe key": "sk" + "_live_" + _BODY[:24],
    "sendgrid key": "SG." + _BODY[:22] + "." + _BODY[:43],
    "vault token": "hvs." + _BODY[:24],
    "databricks token": "dapi" + "0123456789abcdef" * 2,
    "replicate token": "r8_" + _BODY[:37],
    "nvidia key": "nvapi-" + (_BODY + _BODY)[:64],
    "twilio key": "SK" + "0123456789abcdef" * 2,
    "pulumi token": "pul-" + "0123456789abcdef" * 2 + "01234567",
    "age key": "AGE-SECRET-" + "KEY-1" + _BODY[:58].upper(),
    "kaggle key": '"username":"mia","key":"hunter2"',
    "docker login": '"auth": "hunter2"',
    "netrc": "machine example.org login mia password hunter2",
    "cookie": "Cookie: session=hunter2",
    "package index token": "pypi-" + _BODY,
    "json web token": f"eyJ{_BODY}.eyJ{_BODY}.{_BODY}",
    "named secret": "db_password=hunter2",
    "named option": "train.py --api-key hunter2",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_hides_its_kind_and_needs_no_other(rule):
    secret = _SECRETS[rule.name]
    hidden = rule.apply(f"before {secret} after")
    assert any(hint in secret.lower() for hint in rule.hints)
    assert HIDDEN in hidden and hidden.startswith("before ")
    assert not any(part in hidden for part in (_BODY[:20], "hunter2", "p@ss", "MIIE", "1234"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("WANDB_API_KEY=abc", "WANDB_API_KEY=***"),
        ("PGPASSWORD=abc", "PGPASSWORD=***"),
        ("aws_secret_access_key = a/b+c", "aws_secret_access_key = ***"),
        ("AWS_ACCESS_KEY_ID=abc", "AWS_ACCESS_KEY_ID=***"),
        ('{"clientSecret": "a b\\"c", "lr": 1}', '{"clientSecret": "***", "lr": 1}'),
        ('"{\\"token\\": \\"abc\\", \\"lr\\": 1}"', '"{\\"token\\": \\"***\\", \\"lr\\": 1}"'),
        ("{'Authorization': 'Basic abc', 'x': 1}", "{'Authorization': 'Basic ***', 'x': 1}"),
        ("https://example.org/?access_token=abc&page=2", "https://example.org/?access_token=***&page=2"),
        ("https://" + "ghp_abc@github.com/o/r.git", "https://***@github.com/o/r.git"),
        ("Config(password=abc, lr=0.1)", "Config(password=***, lr=0.1)"),
        ("token=a,b,lr=0.1", "token=***,lr=0.1"),
        ("error: api_key: abc", "error: api_key: ***"),
        ("--db.password abc --lr 1", "--db.password *** --lr 1"),
        ("a secret --token abc", "a secret --token ***"),
        ("x" * 200 + "_token=abc", "x" * 200 + "_token=***"),
        ("-----BEGIN PRIVATE KEY-----\n" + "x" * 15_000, "***"),
    ],
)
def test_names_of_secrets_hide_their_values_only(text, kept):
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "pad_token=<pad> eos_token_id: 2 max_tokens=512 tokenizer=bert --pad-token x",
        "loss_per_token: 0.31, 12.5 ms/token: 3, token: 17, tokens=3",
        "commit 0123456789abcdef0123456789abcdef01234567 of wandb",
        "git@github.com:o/r.git ssh://git@github.com/o/r.git https://example.org/a@b?key=1",
        "AKIA is a prefix, so are ghp_, sk-learn-contrib-package and hf_hub",
        "epoch 3: 100%|####| 10/10 [00:01<00:00, 9.9it/s]",
        "password_file=/run/pw the secret of good training",
        "first_pass = model(x); n_pass: 3; bypass=True, auth=none, a cookie: 3 of them, SKlearn, r8_small, dapi, user_id=7",
    ],
)
def test_the_words_of_training_stay(text):
    assert redact(text) == text


def test_a_command_line_hides_what_stands_behind_a_secrets_name():
    words = [
        "train.py",
        "--api-key",
        "abc,d",
        "--token=a,b c",
        "--lr",
        "0.1",
        "--pad-token",
        "x",
        "--token",
        "3",
        "password=,x",
    ]
    assert redact_words(words) == [
        "train.py", "--api-key", "***", "--token=***", "--lr", "0.1", "--pad-token", "x", "--token", "3", "password=***",
    ]  # fmt: skip
    assert redact_words([]) == []


def test_names_are_told_apart():
    assert all(
        map(is_secret_name, ("HF_TOKEN", "--api-key", "clientSecret", "password", "AWS_ACCESS_KEY_ID", "db.passwd"))
    )
    assert not any(
        map(is_secret_name, ("tokenizer", "max_tokens", "pad_token", "eosToken", "key", "secretary", "lr", ""))
    )


@given(
    st.lists(st.sampled_from([*_SECRETS.values(), "token=", "key:", "x", "lr=0.1,", "(a@b)", "{'token': 1}"])).map(
        " ".join
    )
)
def test_redacting_twice_changes_nothing(text):
    once = redact(text)
    assert redact(once) == once


@pytest.mark.timing
@pytest.mark.parametrize(
    "part",
    [
        "a",
        "token",
        "-----BEGIN PRIVATE KEY-----",
        "http://",
        "a.",
        "token='",
        "-",
        "password ",
        "eyJaaaaaaaaaa.",
        "a@",
        "sk-",
        "=:",
    ],
)
def test_no_text_makes_a_rule_slow(part):
    start = time.perf_counter()
    redact(part * (60_000 // len(part)))
    assert time.perf_counter() - start < 2
