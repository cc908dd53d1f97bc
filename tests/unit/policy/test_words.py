"""Words as bash would see them."""

from __future__ import annotations

import subprocess

import pytest
import tree_sitter_bash
from tree_sitter import Language, Parser

from app.policy.classify import argv, every
from app.policy.words import ANY, ONE


def words(script: str) -> list[str]:
    root = Parser(Language(tree_sitter_bash.language())).parse(script.encode()).root_node
    command = next(node for node in every(root) if node.type == "command")
    return [word.text for word in argv(command)]


PLAIN = [
    "echo a'b'\"c\"d",
    'echo "a \\"b\\" \\$x \\n" \'c\\\'',
    "echo a\\ b \\\\ \\'",
    "echo {a,b}{1,2} x{,y} {a} '{a,b}' \"{a,b}\" \\{a,b}",
    "echo \"é ☃\" ''",
    'echo "two  spaces"   x',
    "echo a=b -- --x=y #c",
]


@pytest.mark.parametrize("script", PLAIN)
def test_words_are_those_that_bash_makes(script: str) -> None:
    printed = subprocess.run(
        ["bash", "-c", script.replace("echo", "printf '%s\\n'", 1)], capture_output=True, check=True, encoding="utf-8"
    )
    assert words(script)[1:] == printed.stdout.split("\n")[:-1]


def test_nested_braces_give_every_word() -> None:
    assert set(words("echo pre{a,{b,c}}post")[1:]) == {"preapost", "prebpost", "precpost"}


@pytest.mark.parametrize(
    ("script", "made"),
    [
        ("echo $x", [ANY]),
        ('echo "$x"', [ONE]),
        ('echo "a${x}b"', [f"a{ONE}b"]),
        ("echo a$(date)b", [f"a{ANY}b"]),
        ("echo $HOME/x ~/y", ["~/x", "~/y"]),
        ("echo {1..9}", [ANY]),
        (r"echo $'a\x62'", [ONE]),
    ],
)
def test_what_only_a_run_can_tell_is_marked(script: str, made: list[str]) -> None:
    assert words(script)[1:] == made


def test_a_word_that_the_parser_made_of_several_may_be_anything() -> None:
    assert words("! { { rm x; }; }")[0] == ANY
