"""A hundred made-up credentials as they stand in patches, URLs, arguments and variables, each with what must not be kept.

They have the shapes that issuers document and none is or was in use: every body is drawn from a fixed seed. They are
put together here, so that no scanner of this repository finds one.
"""

from __future__ import annotations

import base64
import json
import random
import string
from typing import NamedTuple

__all__ = ["CORPUS", "Leak"]

_DRAW = random.Random(20261126)
_B62 = string.ascii_letters + string.digits


class Leak(NamedTuple):
    """A text that holds a credential, and the credential."""

    channel: str
    text: str
    secret: str


def _b62(count: int) -> str:
    return "".join(_DRAW.choice(_B62) for _ in range(count))


def _hex(count: int) -> str:
    return "".join(_DRAW.choice("0123456789abcdef") for _ in range(count))


def _up(count: int) -> str:
    return "".join(_DRAW.choice(string.ascii_uppercase + string.digits) for _ in range(count))


def _digits(count: int) -> str:
    return "".join(_DRAW.choice("123456789") for _ in range(count))


def _word(count: int = 12) -> str:
    return "Zq" + _b62(count - 2)


def _b64(count: int) -> str:
    return base64.b64encode(_DRAW.randbytes(count)).decode()


def _jwt() -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps({"sub": _b62(9)}).encode()).decode().rstrip("=") for _ in range(2)
    )
    return f"{head}.{body}.{_b62(43)}"


def _key(kind: str) -> tuple[str, str]:
    """Return a private key block, and a line from its middle."""
    lines = [_b64(48) for _ in range(6)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"]), lines[3]


def _of(channel: str, template: str, *secrets: str) -> list[Leak]:
    return [Leak(channel, template.replace("@@", secret), secret) for secret in secrets]


def _patch() -> list[Leak]:
    rsa, rsa_line = _key("RSA PRIVATE " + "KEY")
    ssh, ssh_line = _key("OPENSSH PRIVATE " + "KEY")
    pgp, pgp_line = _key("PGP PRIVATE " + "KEY BLOCK")
    escaped, escaped_line = _key("PRIVATE " + "KEY")
    return [
        Leak("patch", rsa, rsa_line),
        Leak("patch", ssh, ssh_line),
        Leak("patch", pgp, pgp_line),
        Leak("patch", json.dumps({"type": "service_account", "private_key": escaped}), escaped_line),
        *_of("patch", "AWS_ACCESS_KEY_ID=@@", "AKIA" + _up(16)),
        *_of("patch", "aws_secret_access_key = @@", _b62(20) + "/" + _b62(19)),
        *_of("patch", 'session = Session(aws_session_token="@@")', "Fwo" + _b62(60)),
        *_of("patch", 'os.environ["WANDB_API_KEY"] = "@@"', _hex(40)),
        *_of("patch", 'wandb.login(key="@@")', _hex(40)),
        *_of("patch", "HF_TOKEN: @@", "hf_" + _b62(34)),
        *_of("patch", 'login("@@")', "hf_" + _b62(34)),
        *_of("patch", 'client = OpenAI("@@")', "sk-" + "proj-" + _b62(48)),
        *_of("patch", 'anthropic("@@")', "sk-" + "ant-api03-" + _b62(80)),
        *_of("patch", 'headers = {"Authorization": "Bearer @@"}', _b62(40)),
        *_of("patch", 'headers = {"X-Api-Key": "@@"}', _b62(32)),
        *_of("patch", 'headers = {"PRIVATE-TOKEN": "@@"}', "glpat" + "-" + _b62(20)),
        *_of("patch", 'g = Github("@@")', "ghp" + "_" + _b62(36)),
        *_of("patch", "use @@ here", "github" + "_pat_" + _b62(60)),
        *_of("patch", 'slack = WebClient("@@")', "xoxb" + "-" + _digits(12) + "-" + _b62(24)),
        *_of("patch", 'stripe.api_key = "@@"', "sk" + "_live_" + _b62(24)),
        *_of("patch", 'charge("@@")', "rk" + "_live_" + _b62(24)),
        *_of("patch", 'SendGrid("@@")', "SG." + _b62(22) + "." + _b62(43)),
        *_of("patch", 'genai.configure("@@")', "AIza" + _b62(35)),
        *_of("patch", 'oauth = "@@"', "GOCSPX" + "-" + _b62(28)),
        *_of("patch", 'bearer = "@@"', "ya29" + "." + _b62(60)),
        *_of("patch", 'vault("@@")', "hvs" + "." + _b62(24)),
        *_of("patch", 'databricks("@@")', "dapi" + _hex(32)),
        *_of("patch", 'replicate("@@")', "r8" + "_" + _b62(37)),
        *_of("patch", 'nvidia("@@")', "nvapi" + "-" + _b62(64)),
        *_of("patch", 'bot = Bot("@@")', _digits(10) + ":AA" + _b62(33)),
        *_of("patch", '"username":"mia","key":"@@"', _hex(32)),
        *_of("patch", "machine h login mia password @@", _word()),
        *_of("patch", '"auths": {"r.io": {"auth": "@@"}}', _b64(24)),
        *_of("patch", "//registry.npm.example/:_authToken=@@", _b62(36)),
        *_of("patch", "password: '@@'", _word()),
        *_of("patch", 'DB_PASS="@@"', _word()),
        *_of("patch", 'NEPTUNE_API_TOKEN="@@"', _b64(60)),
        *_of("patch", 'client_secret = "@@"', _word(20)),
        *_of("patch", "smtp_passwd=@@", _word()),
        *_of("patch", "Cookie: session=@@", _b62(40)),
        *_of("patch", 'jwt = "@@"', _jwt()),
        *_of("patch", 'discord = "https://discord.com/api/webhooks/123456789012345678/@@"', _b62(68)),
        *_of("patch", 'age = "@@"', "AGE-SECRET-" + "KEY-1" + _up(58)),
        *_of("patch", 'pulumi = "@@"', "pul" + "-" + _hex(40)),
        *_of("patch", 'twilio = "@@"', "SK" + _hex(32)),
    ]


def _url() -> list[Leak]:
    return [
        *_of("url", "https://mia:@@@host.example/repo.git", _word()),
        *_of("url", "https://@@@github.com/o/r.git", "gho" + "_" + _b62(36)),
        *_of("url", "postgresql+psycopg2://ml:@@@db.example:5432/mlflow", _word()),
        *_of("url", "mongodb+srv://ml:@@@cluster.example/?retryWrites=true", _word()),
        *_of("url", "redis://:@@@cache.example:6379/0", _word()),
        *_of("url", "s3://@@@bucket/data", "AKIA" + _up(16) + ":" + _b62(40)),
        *_of("url", "https://b.s3.amazonaws.com/k?X-Amz-Signature=@@", _hex(64)),
        *_of("url", "https://b.s3.amazonaws.com/k?X-Amz-Security-Token=@@", _b62(90)),
        *_of("url", "https://b.s3.amazonaws.com/k?X-Amz-Credential=@@%2F20261126", "ASIA" + _up(16)),
        *_of("url", "https://storage.googleapis.com/b/k?X-Goog-Signature=@@", _hex(128)),
        *_of("url", "https://a.blob.core.windows.net/c/k?sv=2024&sig=@@", _b62(43) + "%3D"),
        *_of("url", "https://host.example/data?access_token=@@", _b62(30)),
        *_of("url", "https://host.example/data?api_key=@@&x=1", _b62(30)),
        *_of("url", "https://host.example/data?key=@@", "AIza" + _b62(35)),
        *_of("url", "https://host.example/data?password=@@", _word()),
        *_of("url", "https://hooks.slack.com/services/T000/B000/@@", _b62(24)),
        *_of("url", "ftp://mia:@@@host.example/data.csv", _word()),
        *_of("url", "https://host.example/cb#id_token=@@", _jwt()),
        *_of("url", "hdfs://mia:@@@name.example:9000/data", _word()),
        *_of("url", "https://api.telegram.org/bot@@/send", _digits(10) + ":AA" + _b62(33)),
    ]


def _argument() -> list[Leak]:
    return [
        *_of("argument", "--api-key @@", _b62(32)),
        *_of("argument", "--api_key=@@", _b62(32)),
        *_of("argument", "--token @@", _b62(32)),
        *_of("argument", "--hf-token=@@", "hf_" + _b62(34)),
        *_of("argument", "--password @@", _word()),
        *_of("argument", "--db.password=@@", _word()),
        *_of("argument", "--wandb-api-key @@", _hex(40)),
        *_of("argument", "--client-secret @@", _word(20)),
        *_of("argument", "model.auth.token=@@", _b62(32)),
        *_of("argument", "+secret=@@", _word(20)),
        *_of("argument", "--tracking-uri https://mia:@@@mlflow.example", _word()),
        *_of("argument", "--header Authorization:Bearer\xa0@@".replace("\xa0", " "), _b62(40)),
        *_of("argument", "--passphrase @@", _word()),
        *_of("argument", "--aws-secret-access-key @@", _b62(40)),
        *_of("argument", "--credentials @@", _word(20)),
    ]


def _environment() -> list[Leak]:
    return [
        *_of("environment", "WANDB_API_KEY=@@", _hex(40)),
        *_of("environment", "HF_TOKEN=@@", "hf_" + _b62(34)),
        *_of("environment", "AWS_SECRET_ACCESS_KEY=@@", _b62(40)),
        *_of("environment", "AWS_SESSION_TOKEN=@@", _b62(80)),
        *_of("environment", "GITHUB_TOKEN=@@", "ghs" + "_" + _b62(36)),
        *_of("environment", "MLFLOW_TRACKING_PASSWORD=@@", _word()),
        *_of("environment", "NEPTUNE_API_TOKEN=@@", _b64(60)),
        *_of("environment", "OPENAI_API_KEY=@@", "sk-" + _b62(48)),
        *_of("environment", "PGPASSWORD=@@", _word()),
        *_of("environment", "DATABASE_URL=postgresql://ml:@@@db.example/x", _word()),
        *_of("environment", "NCCL_AUTH_TOKEN=@@", _b62(30)),
        *_of("environment", "MASTER_ADDR=https://mia:@@@node.example", _word()),
        *_of("environment", "JAX_PLATFORM_SECRET=@@", _word(20)),
        *_of("environment", "TORCH_HOME=https://host.example/hub?token=@@", _b62(30)),
        *_of("environment", "PYTORCH_HUB_API_KEY=@@", _b62(32)),
        *_of("environment", "GITHUB_REF=refs/heads/@@", "github" + "_pat_" + _b62(60)),
        *_of("environment", "XLA_FLAGS=--xla_dump_to=s3://k:@@@bucket", _word()),
        *_of("environment", "SLURM_JOB_NAME=train --api-key @@", _b62(32)),
        *_of("environment", "MY_COMPANY_SECRET=@@", _word(20)),
        *_of("environment", "KAGGLE_KEY=@@", _hex(32)),
    ]


CORPUS: tuple[Leak, ...] = (*_patch(), *_url(), *_argument(), *_environment())
