"""What a person reads about a wrong file."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import load
from app.errors import ConfigError
from tests.unit.config.conftest import Problems, Read


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("\nhtpp: {}", "2: htpp", "there is no such key; did you mean http?"),
        ("http:\n  prot: 5", "2: http.prot", "there is no such key; did you mean port?"),
        ("log: {zzz: 5}", "1: log.zzz", "there is no such key; known here: format, level"),
        ("http:\n  port: x", "2: http.port", "must be a whole number"),
        ("http: {port: 1.5}", "1: http.port", "must be a whole number"),
        ("http: {port: 70000}", "1: http.port", "must be at most 65535"),
        ("http: {threads: 1}", "1: http.threads", "must be at least 2"),
        ("task: {compact_at: 0}", "1: task.compact_at", "must be more than 0"),
        (
            "http: {port: yes}",
            "1: http.port",
            "must be a number, not true or false (as which YAML also reads yes, no, on and off)",
        ),
        (
            "messages: {failed: on}",
            "1: messages.failed",
            ("must be text, not true or false (as which YAML also reads yes, no, on and off); put it in quotes"),
        ),
        (
            "messages: {failed: 'no {reson}'}",
            "1: messages.failed",
            "a placeholder can't be filled in (there is: {reason}; a brace itself is {{)",
        ),
        (
            "messages: {failed: 5}",
            "1: messages.failed",
            "must be text, and YAML reads this as a number; put it in quotes",
        ),
        ("messages: {failed: [a]}", "1: messages.failed", "must be text"),
        ("watch: perhaps", "1: watch", "must be true or false"),
        ("http: 5", "1: http", "must be keys and values"),
        ("adapters: {}", "1: adapters", "must be a list"),
        ("scope: usr", "1: scope", "must be one of channel, user, adapter, agent; did you mean user?"),
        (
            "scope: on",
            "1: scope",
            "must be one of channel, user, adapter, agent; YAML reads yes, no, on and off as true or false",
        ),
        ("drain: soon", "1: drain", "'soon' is no duration: write it as 30s, 5m or 1h30m"),
        ("drain: -5", "1: drain", "must be zero or more, and finite"),
        ("drain: .inf", "1: drain", "must be zero or more, and finite"),
        (
            "attachments: {max_bytes: 5XB}",
            "1: attachments.max_bytes",
            "'5XB' is no size: write it as 500KB, 25MB or 64MiB",
        ),
        ("agents: {}", "1: agents", "must not be empty"),
        ("models: {fast: {}}", "1: models.fast.model", "is missing; set it"),
        ("agents:\n  default:", "2: agents.default", "must be keys and values, and it is empty"),
        (
            "lease: {ttl: 4s}",
            "1: lease",
            "lease.renew must be at most half of lease.ttl, or one slow renewal loses every lane",
        ),
        ("builtin_tools: {bsh: false}", "1: builtin_tools.bsh", "there is no such built-in tool; did you mean bash?"),
        (
            "agents: {default: {model: opnai/x}}",
            "1: agents.default.model",
            "there is no such provider; did you mean openai?",
        ),
        (
            "agents: {default: {model: gpt}}",
            "1: agents.default.model",
            "must be provider/name, such as openai/gpt-5.4-mini",
        ),
        (
            "agents: {default: {model: openai/}}",
            "1: agents.default.model",
            "has no name after the provider; write it as openai/gpt-5.4-mini",
        ),
        (
            "models: {fast: {model: openai/x}}\nagents: {default: {model: fats}}",
            "2: agents.default.model",
            (
                "must be provider/name, such as openai/gpt-5.4-mini, or the name of an entry of models; did you"
                " mean fast?"
            ),
        ),
        (
            "models: {a: {model: openai/x}, b: {model: a}}",
            "1: models.b.model",
            "must be provider/name, such as openai/gpt-5.4-mini",
        ),
        (
            "agents: {ops: {}}",
            "1: agents",
            "has no agent named default, which the built-in local adapter uses; add it, or set adapters",
        ),
        (
            "adapters: [{kind: local, name: a, agent: opps}]\nagents: {ops: {}}",
            "1: adapters[0].agent",
            "there is no agent of this name; did you mean ops?",
        ),
        ("adapters:\n  - name: a", "2: adapters[0].kind", "is missing; set it"),
        (
            "adapters:\n  - {name: a, kind: loca}",
            "2: adapters[0].kind",
            "must be one of slack, telegram, discord, webhook, local; did you mean local?",
        ),
        ("adapters:\n  - {kind: webhook}", "2: adapters[0].name", "is missing; set it"),
        ("adapters: [{kind: local, name: A}]", "1: adapters[0].name", "must match ^[a-z0-9][a-z0-9_-]{0,62}$"),
        (
            "adapters: [{kind: local, name: a}, {kind: local, name: a}]",
            "1: adapters",
            "two adapters are named a: a name must be unique",
        ),
        (
            "adapters: [{kind: telegram, name: a, bot_token: x}, {kind: telegram, name: b, bot_token: x}]",
            "1: adapters",
            "two adapters have one bot_token: they would take each other's messages; use one of them",
        ),
        (
            "adapters: [{kind: local, name: a, local: 1}]",
            "1: adapters[0].local",
            "there is no such key; known here: agent, allow, kind, name, permissions",
        ),
        (
            "drain: x${NONE}",
            "1: drain",
            "${NONE} is not set; set NONE in the environment or in .env, or write a default",
        ),
        ("adapters:\n  -\n", "2: adapters[0]", "must be keys and values, and it is empty"),
        (
            "adapters: [{kind: webhook, name: a, reply_hosts: b}]",
            "1: adapters[0].reply_hosts",
            "must be a list; put [ ] around it",
        ),
        (
            "adapters: [{kind: webhook, name: a, secret: 0123}]",
            "1: adapters[0].secret",
            "must be text or a list, and YAML reads this as a number; put it in quotes",
        ),
        (
            "adapters: [{kind: webhook, name: a, secret: [b, 5]}]",
            "1: adapters[0].secret[1]",
            "must be text, and YAML reads this as a number; put it in quotes",
        ),
        *(
            (
                f"tracing: {{endpoint: '{endpoint}'}}",
                "1: tracing.endpoint",
                "must be the http(s) address of a collector, like http://collector:4318; keys go to tracing.headers",
            )
            for endpoint in ("grpc://c:4317", "http://a:sesame@c", "http://c:port", "http://[::1", "http://c?key=1")
        ),
        (
            "tracing: {headers: {a: 'ключ'}}",
            "1: tracing.headers",
            "'a': a header's name is letters, digits, - and _, and its value plain ASCII",
        ),
        ("sentry_dsn: ''", "1: sentry_dsn", "must not be empty; set it, or leave the key out"),
        ("http: {}\nlog: {}\nhttp: {}", "3: http", "stands here again, first in line 1; keep one"),
        ("http:\n  port: 1\n  port: 2", "3: http.port", "stands here again, first in line 2; keep one"),
        (
            "http:\n  host: ${NONE}",
            "2: http.host",
            "${NONE} is not set; set NONE in the environment or in .env, or write a default",
        ),
        ("http: &h\n  host: *h", "1: http.host", "refers to itself; write it out"),
        (
            "http: !!python/object/apply:os.system [x]",
            "1: http",
            "begins with !, which YAML takes for a tag; put the value in quotes",
        ),
        ("http: {port: !!int x}", "1: http.port", "is no int"),
        ("? [a]\n: b", "1", "has a key that is no text"),
        ("http: {<<: 5}", "1: http", "has a << that names no other mapping"),
    ],
)
def test_one_line_with_place_key_and_cure(problems: Problems, text: str, place: str, said: str) -> None:
    assert problems(text) == [f"heyfleet.yaml:{place}: {said}"]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("http:\n\tport: 1", "2:1", "has a tab where YAML wants spaces; indent with spaces"),
        ("a: [1\n", "2:1", "is no YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "http: port: 1",
            "1:11",
            "has a ': ' too many or is indented wrongly; put a value that contains ': ' in quotes",
        ),
        ("http: {host: ${H}}", "1:15", "has a ${…} inside { } or [ ]; put it in quotes there"),
        (
            "a: 1\nb: *c",
            "2:4",
            "has a value that begins with * or &, which YAML takes for a reference; put the value in quotes",
        ),
        (
            "a: @b",
            "1:4",
            "has a value that begins with a character that YAML keeps for itself; put the value in quotes",
        ),
        ("- a", "1", "must consist of keys and values, such as http: {port: 8000}"),
        ("a: 1\nb: \x07", "2", "has a character that YAML does not allow; remove it"),
        ("a: 1\n---\nb: 2", "2:1", "is no YAML: but found another document"),
    ],
)
def test_what_is_no_yaml(problems: Problems, text: str, place: str, said: str) -> None:
    assert problems(text) == [f"heyfleet.yaml:{place}: {said}"]


def test_everything_is_told_at_once_in_order(problems: Problems) -> None:
    text = (
        "http: {port: x}\nhtpp: 1\ndrain: ${NONE}\nscope: usr\nagents: {default: {model: y}}\n"
        "adapters: [{kind: local, name: a, agent: b}]\n"
    )
    found = problems(text, {"HEYFLEET_NOPE": "1"}, "= x\n")
    assert [line.partition(": ")[0] for line in found] == [
        "$HEYFLEET_NOPE",
        ".env:1",
        *(f"heyfleet.yaml:{line}" for line in range(1, 7)),
    ]


def test_a_key_that_is_named_like_its_kind(problems: Problems) -> None:
    text = "adapters:\n  - kind: webhook\n    name: a\n    webhook: {secret: 1}\n    secret: 5\n"
    assert [line.partition(": ")[2].partition(": ")[0] for line in problems(text)] == [
        "adapters[0].webhook",
        "adapters[0].secret",
    ]


SECRET_PLACES = [
    "sentry_dsn: *sesame",
    "sentry_dsn: &sesame",
    "sentry_dsn: !sesame x",
    "sentry_dsn: !sesame!x y",
    "sentry_dsn: @sesame",
    'sentry_dsn: "\\sesame"',
    "sentry_dsn: [sesame]",
    "sentry_dsn: {sesame: 1}",
    "sentry_dsn: x: sesame",
    "database_url: {a: sesame",
    "database_url: [sesame, sesame]",
    "adapters: [{kind: webhook, name: a, secret: {b: sesame}}]",
    "adapters: [{kind: webhook, name: a, secret: [[sesame]]}]",
    "models: {a: {model: openai/x, api_kye: sesame}}",
    "database_url: ${X}sesame${",
    "drain: ${SECRET}",
    "scope: ${SECRET}",
    "attachments: {max_bytes: 'a${SECRET}'}",
    "agents: {default: {model: '${SECRET}'}}",
    "agents: {default: {model: '${SECRET}/x'}}",
    "adapters: [{kind: '${SECRET}', name: a}]",
    "adapters: [{kind: local, name: a, agent: '${SECRET}'}]",
]


@pytest.mark.parametrize("text", SECRET_PLACES)
def test_no_secret_is_told(problems: Problems, text: str) -> None:
    for line in problems(text + "\nnope: 1", {"SECRET": "sesame"}):
        assert "sesame" not in line.replace("sentry_dsn.sesame", "").replace("secret.b", "")


def test_where_a_value_was_filled_in_from(problems: Problems) -> None:
    assert problems("http:\n  port: ${A}${B}", {"A": "x", "B": "y"}) == [
        "heyfleet.yaml:2: http.port: must be a whole number (filled in from $A, $B)"
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"http: {host: \xe9}")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / ".env").write_bytes(b"A=\xe9")
    for name, words in (("latin.yaml", "is not in UTF-8"), ("folder.yaml", "can't be read")):
        with pytest.raises(ConfigError) as refused:
            load(Path(name), {}, tmp_path)
        assert refused.value.problems[0] == ".env: is not in UTF-8; save it as UTF-8"
        assert refused.value.problems[1].startswith(f"{name}: {words}")


def test_flower_is_not_shown_to_everybody(problems: Problems) -> None:
    (found,) = problems("flower: {host: 0.0.0.0}")
    assert "set flower.basic_auth, or flower.host: 127.0.0.1" in found
    (found,) = problems("flower: {basic_auth: ops}")
    assert "basic_auth must be user:password" in found


def test_flower_with_passwords_may_be_reached_by_others(read: Read) -> None:
    loaded = read("flower: {host: 0.0.0.0, basic_auth: 'ops:sesame,dev:sesame'}")
    assert loaded.settings.flower.host == "0.0.0.0"
