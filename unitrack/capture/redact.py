"""Take credentials out of text before it is kept: command lines, remotes, variables, console.

Rules ask for what an issuer's tokens look like, or for a name such as `api_key` before the
value. They hide too much rather than too little, but leave the words of training alone:
`pad_token=0` and `loss_per_token: 0.3` stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["HIDDEN", "RULES", "Rule", "is_secret_name", "redact", "redact_tree", "redact_words"]

HIDDEN = "***"

_WORD = (
    r"(?:token|secret|passw(?:or)?d|passphrase|pwd|(?:db|ftp|http|mail|mysql|pg|proxy|root|smtp|ssh|user)[_-]?pass|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|credentials?)"
    r"(?:[_-](?:id|key|value|base))?"
)
_VALUE = (
    r"(?P<value>"
    r"\"(?:\\.|[^\"\\\n])*|'(?:\\.|[^'\\\n])*|"  # in quotes, which may be escaped inside
    r"\\\"[^\"\n]*|"  # JSON inside a string
    r"(?:[^\s\"'&;,]|,(?!\s|[\w.-]+\s?[=:]))+)"
)
_SECRET_NAME = re.compile(rf"{_WORD}$")
_HARMLESS_NAME = re.compile(
    r"(?:^|[_./])(?:pad|bos|eos|unk|mask|cls|sep|special|next|last|first|stop|start|end|image|video|audio|text|prompt"
    r"|per|seq|num|max|min|n)_token(?:_id|_value)?$|/token$"
)
_NUMBER = re.compile(r"[+-]?[0-9.]{1,9}(?:e[+-]?\d{1,3})?[a-z%/]{0,4}", re.IGNORECASE)
_NAME_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-"
_LONGEST_NAME = 100
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Rule(NamedTuple):
    """What a kind of credential looks like.

    Only text that holds one of `hints` is searched, which is lower case like them. A group `keep`
    stays. A group `word` has to end the name of a secret, with `option` the name of an option.
    """

    name: str
    hints: tuple[str, ...]
    pattern: str
    flags: int = 0
    option: bool = False

    def apply(self, text: str) -> str:
        """Return `text` with what the pattern finds hidden."""
        pattern = re.compile(self.pattern, self.flags)  # compiled once, and only if a hint asks for it
        return pattern.sub(self._hide, text)

    def _hide(self, match: re.Match[str]) -> str:
        groups = match.groupdict()
        keep, word, value = groups.get("keep") or "", groups.get("word"), groups.get("value")
        if word is None or value is None:
            return keep + HIDDEN
        before = match.string[max(0, match.start() - _LONGEST_NAME) : match.start()]
        name = before[len(before.rstrip(_NAME_LETTERS)) :] + word
        if not is_secret_name(name) or (self.option and not name.startswith("-")):
            return match[0]
        return match[0] if "token" in word.lower() and _is_number(value.rstrip(")]}")) else keep + _hidden_value(value)


def _hidden_value(value: str) -> str:
    """Return the mark inside the quotes or brackets that the value stood in."""
    quote = value[: len(value) - len(value.lstrip("\\\"'"))]
    if quote:
        return quote + HIDDEN + ("\\" if quote.startswith("\\") and value.endswith("\\") else "")
    return HIDDEN + value[len(value.rstrip(")]}") or value) :]


def _rule(name: str, hints: str, *patterns: str, flags: int = 0, option: bool = False) -> Rule:
    return Rule(name, tuple(hints.split(" ")), "|".join(patterns), flags, option)


_NAMES = "token secret pass pwd key credential"
RULES = (
    _rule(
        "private key block",
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:.{0,20000}?-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|.{0,20000})",
        flags=re.DOTALL,
    ),
    _rule("url credentials", "://", r"(?P<keep>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?!git@)[^\s/?#\"'<>]{1,1000}(?=@)"),
    _rule(
        "authorization header",
        "authorization",
        r"(?P<keep>\bauthorization\b[\"']?\s{0,5}[:=]\s{0,5}[\"']?"
        r"(?:(?:basic|bearer|token|digest|negotiate|apikey)\b\s*)?)[^\r\n\"']+",
        flags=re.IGNORECASE,
    ),
    _rule("bearer token", "bearer", r"(?P<keep>\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}", flags=re.IGNORECASE),
    _rule(
        "signed url",
        "sig= signature=",
        r"(?P<keep>[?&](?:sig|signature|x-amz-signature|x-goog-signature)=)[^\s&\"'<>]+",
        flags=re.IGNORECASE,
    ),
    _rule("aws key id", "akia asia abia acca", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _rule(
        "github token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\bgh[pousr]_[A-Za-z0-9]{36,255}",
        r"\bgithub_pat_[A-Za-z0-9_]{22,255}",
    ),
    _rule("gitlab token", "gl", r"\bgl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_-]{20,}"),
    _rule(
        "slack token",
        "xox xapp- hooks.slack.com",
        r"\bx(?:ox[abeoprs]|app)-[A-Za-z0-9-]{10,}",
        r"(?P<keep>\bhooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9/_-]+",
    ),
    _rule("discord webhook", "/webhooks/", r"(?P<keep>\bdiscord(?:app)?\.com/api/webhooks/\d{1,20}/)[A-Za-z0-9_-]+"),
    _rule("telegram token", ":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _rule(
        "wandb key",
        "wandb_v1_ local- login",
        r"\bwandb_v1_[A-Za-z0-9_]{20,}",
        r"\blocal-[0-9a-f]{40}\b",
        r"(?P<keep>\bwandb\s+login(?:\s+--\S+)*\s+|\blogin\s+user\s+password\s+"
        r"|\blogin\(\s{0,5}(?:key\s{0,5}=\s{0,5})?[\"'])[0-9a-f]{40}\b",
    ),
    _rule("hugging face token", "hf_ api_org_", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _rule("openai-like key", "sk-", r"(?<![\w-])sk-(?=[A-Za-z_-]{0,99}\d)[A-Za-z0-9_-]{20,}"),
    _rule("stripe key", "k_live_ k_test_", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _rule(
        "google token",
        "aiza gocspx- ya29.",
        r"\bAIza[A-Za-z0-9_-]{35}",
        r"\bGOCSPX-[A-Za-z0-9_-]{28}",
        r"\bya29\.[A-Za-z0-9_-]{20,}",
    ),
    _rule("sendgrid key", "sg.", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _rule("vault token", "hvs. hvb. hvr.", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    _rule("databricks token", "dapi", r"\bdapi[0-9a-f]{32}(?:-\d)?\b"),
    _rule("replicate token", "r8_", r"\br8_[A-Za-z0-9]{37}\b"),
    _rule("nvidia key", "nvapi-", r"\bnvapi-[A-Za-z0-9_-]{60,}"),
    _rule("twilio key", "sk", r"\bSK[0-9a-f]{32}\b"),
    _rule("pulumi token", "pul-", r"\bpul-[0-9a-f]{40}\b"),
    _rule("age key", "age-secret-key-", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    _rule(
        "kaggle key",
        "username",
        r"(?P<keep>\"username\"\s{0,5}:\s{0,5}\"[^\"\n]{0,100}\"\s{0,5},\s{0,5}\"key\"\s{0,5}:\s{0,5}\")[^\"\n]+",
    ),
    _rule("docker login", "auth", r"(?P<keep>\"(?:auth|identitytoken)\"\s{0,5}:\s{0,5}\")[^\"\n]+"),
    _rule("netrc", "password", r"(?P<keep>\blogin\s{1,5}\S{1,100}\s{1,5}password\s{1,5})\S+"),
    _rule(
        "cookie",
        "cookie",
        r"(?P<keep>\b(?:set-)?cookie[\"']?\s{0,5}:\s{0,5}[\"']?)(?=[^\s=\"']{1,100}=)[^\r\n\"']+",
        flags=re.IGNORECASE,
    ),
    _rule("package index token", "pypi- npm_", r"\bpypi-[A-Za-z0-9_-]{50,}", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _rule("json web token", "eyj", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"),
    _rule(
        "named secret",
        _NAMES,
        rf"(?P<keep>(?P<word>{_WORD})\\?[\"']?\]?\s{{0,5}}[=:]\s{{0,5}}){_VALUE}",
        flags=re.IGNORECASE,
    ),
    _rule("named option", _NAMES, rf"(?P<keep>(?P<word>{_WORD})\s+)(?!-){_VALUE}", flags=re.IGNORECASE, option=True),
)


def redact(text: str) -> str:
    """Return `text` with every credential the rules know replaced by `***`."""
    hints = text.lower()
    for rule in RULES:
        if any(hint in hints for hint in rule.hints):
            text = rule.apply(text)
    return text


def redact_words(words: Iterable[str]) -> list[str]:
    """Return a command line's words without credentials, also those after `--api-key` or behind `--api-key=`."""
    kept: list[str] = []
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        if option and not _is_number(word) or equals and value and is_secret_name(name) and not _is_number(value):
            kept.append(HIDDEN if option else f"{name}={HIDDEN}")
        else:
            kept.append(redact(word))
        option = word if not option and word.startswith("-") and not equals and is_secret_name(word) else ""
    return kept


def redact_tree(value: Any) -> Any:
    """Return a plain tree with its texts redacted, and hidden what has the name of a secret. Equal trees stay equal."""
    if isinstance(value, dict):
        return {redact(key): _named(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return redact_words(value) if value and all(isinstance(item, str) for item in value) else _items(value)
    return redact(value) if isinstance(value, str) else value


def _items(values: list[Any]) -> list[Any]:
    return [redact_tree(item) for item in values]


def _named(name: str, value: Any) -> Any:
    if not is_secret_name(name) or value is None or isinstance(value, bool):
        return redact_tree(value)
    if isinstance(value, dict):
        return {key: _named(name, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(name, item) for item in value]
    if isinstance(value, (int, float)) or _is_number(value):  # a count, such as `token: 3`; a PIN is a number, too
        return value if name.lower().endswith(("token", "key", "value", "id")) else HIDDEN
    return HIDDEN if value else value


def is_secret_name(name: str) -> bool:
    """Tell whether what has this name holds a credential: `HF_TOKEN`, `--api-key`, `clientSecret`."""
    plain = _HUMP.sub("_", name).lower().replace("-", "_")
    return bool(_SECRET_NAME.search(plain)) and not _HARMLESS_NAME.search(plain)


def _is_number(value: str) -> bool:
    return _NUMBER.fullmatch(value) is not None
