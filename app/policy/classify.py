"""Is a command harmless, to be asked about, or never to be run? Decided by parsing it, not by looking for text.

A guardrail against accidents, not isolation: who writes the command can hide what it does from any parser.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import dropwhile

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from app.policy.patterns import NO_PATTERNS, Patterns
from app.policy.places import is_device, is_network, is_root, is_system_file
from app.policy.rules import WRITES_DEVICE, judge
from app.policy.tables import PROGRAM_VARIABLES
from app.policy.tree import TooLarge, Tree, every
from app.policy.verdict import ALLOW, ask, block, worst
from app.policy.words import ANY, Word, source, words_of
from app.policy.wrappers import ASSIGNMENT, RESERVED, Argv, Code, Inner, Stdin, Unclear, every_start, inner
from app.results import Verdict

UNSURE = ask("it can't be parsed")
LONGEST = 100_000
DEEPEST = 8
MOST_STARTS, DEEPEST_STARTS = 64, 2
"""How many words may each be a command's beginning, and in how many layers: their number is taken to that power."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
JOINED = re.compile(r"(?<=[^\s\\])\\\n(?=\S)")
WRITES = frozenset((">", ">>", ">|", "&>", "&>>", "<>", ">&"))
QUOTED = re.compile(r"['\"\\]")
SUBSTITUTION = re.compile(r"(?<!\\)(?:`|\$\()")
NOT_WORDS = frozenset(("file_redirect", "herestring_redirect", "heredoc_redirect", "variable_assignment"))


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a command stands."""

    patterns: Patterns
    depth: int = 0
    """In how many commands that run others."""
    folder: str = ""
    """Where the script went, if that is known and matters."""

    def deeper(self) -> Scene:
        return replace(self, depth=self.depth + 1)


def classify(command: str, patterns: Patterns = NO_PATTERNS) -> Verdict:
    """The verdict on a whole command line or script. Pure; never raises for what a command may be."""
    return examine(command, Scene(patterns))


def examine(text: str, scene: Scene) -> Verdict:
    if len(text) > LONGEST or scene.depth > DEEPEST:
        return ask("it is too long, or nested too deep, to be looked at")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return ask("it holds half of a character")
    if CONTROL.search(text):
        return ask("it holds control characters")
    root = Parser(Language(tree_sitter_bash.language())).parse(data).root_node
    try:
        tree = Tree(root)
    except TooLarge:
        return ask("it is too long, or nested too deep, to be looked at")
    scene = replace(scene, folder=went_to(tree.nodes))
    verdicts = [verdict for node in tree.nodes for verdict in of_node(node, tree, scene)]
    if root.has_error:
        verdicts.append(UNSURE)
    at = seen = 0
    for match in JOINED.finditer(text):
        # The parser takes a continued line for a new word, bash joins the word.
        at, seen = at + len(text[seen : match.start()].encode()), match.start()
        place = root.descendant_for_byte_range(at, at + 1)
        if place is None or place.type not in ("raw_string", "string", "string_content", "heredoc_body", "comment"):
            verdicts.append(ask("a word of it goes on over a line's end"))
    return worst(verdicts)


def of_node(node: Node, tree: Tree, scene: Scene) -> Iterator[Verdict]:
    match node.type:
        case "command":
            yield of_words(argv(node), partial(stdin_of, node, tree), scene)
        case "file_redirect":
            yield of_redirect(node)
        case "heredoc_redirect":
            if substitutes_unseen(node):
                yield ask("a here-document of it runs commands")
        case "variable_assignment":
            yield of_variable(source(node))
        case "function_definition":
            if is_bomb(node):
                yield block("it starts itself again and again (a fork bomb)")
        case "command_substitution":
            text = source(node)
            if text.startswith("`") and "\\" in text:
                yield examine(re.sub(r"\\([`\\$])", r"\1", text[1:-1]), scene.deeper())


def substitutes_unseen(redirect: Node) -> bool:
    """Whether a here-document has substitutions that the parser takes for text: backquotes, and any after `<<-`."""
    start = next((child for child in redirect.children if child.type == "heredoc_start"), None)
    if start is None or QUOTED.search(source(start)):
        return False
    for body in redirect.children:
        if body.type == "heredoc_body":
            seen = [source(child) for child in body.children if child.type != "heredoc_content"]
            text = source(body)
            for found in seen:
                text = text.replace(found, "", 1)
            if SUBSTITUTION.search(text):
                return True
    return False


def of_variable(assignment: str) -> Verdict:
    """`NAME=value`, before a command or by itself."""
    name = assignment.partition("=")[0].rstrip("+")
    return ask(f"{name} says which programs are run") if name in PROGRAM_VARIABLES else ALLOW


def argv(command: Node) -> list[Word]:
    return [word for child in command.named_children if child.type not in NOT_WORDS for word in words_of(child)]


def of_words(words: Sequence[Word], stdin: Callable[[], Stdin], scene: Scene) -> Verdict:
    given, words = words, list(dropwhile(lambda word: ASSIGNMENT.match(word.text), words))
    for word in given[: len(given) - len(words)]:
        if of_variable(word.text) is not ALLOW:
            return worst([of_variable(word.text), of_words(words, stdin, scene)])
    if not words:
        return ALLOW
    name = words[0]
    if scene.depth > DEEPEST:
        return ask("it is nested too deep to be looked at")
    if name.text in RESERVED:
        # After `time` and its like the parser takes bash's own syntax for words, and may be wrong about what follows.
        starts = every_start(words[1:])[:MOST_STARTS] if scene.depth < DEEPEST_STARTS else []
        return worst([UNSURE, *(of_inner(found, stdin, scene.deeper()) for found in starts)])
    if not name.known or name.pattern or not name.text:
        return ask("the name of a command is only known when it runs")
    program, args = posixpath.basename(name.text), words[1:]
    mine = scene.patterns.judge(program, words)
    own = mine or judge(program, args, folder=scene.folder)
    if own.answer == "ask":
        # What is asked about by the operator's wish may be blocked all the same.
        own = worst([own, judge(program, args, folder=scene.folder)])
    return worst([own, *(of_inner(found, stdin, scene.deeper()) for found in inner(program, args, stdin))])


def of_inner(found: Inner, stdin: Callable[[], Stdin], scene: Scene) -> Verdict:
    match found:
        case Argv(words):
            return of_words(words, stdin, scene)
        case Code(text):
            return examine(text, scene)
        case Unclear(reason):
            return ask(reason)


def of_redirect(redirect: Node) -> Verdict:
    destination = redirect.child_by_field_name("destination")
    if destination is None or not any(child.type in WRITES for child in redirect.children):
        path = words_of(destination)[0].text if destination else ""
        return ask("it reaches the network") if is_network(path) else ALLOW
    path = words_of(destination)[0].text
    if is_network(path):
        return ask("it reaches the network")
    if is_device(path):
        return block(WRITES_DEVICE)
    if is_system_file(path) or path.startswith("/dev/" + ANY):
        return ask("it changes a file of the system")
    return ALLOW


def stdin_of(command: Node, tree: Tree) -> Stdin:
    """What a command reads, from here-documents and pipes around it."""
    texts: list[str] = []
    piped, node = False, command
    texts += given_to(command)
    while (above := tree.above(node)) is not None:
        if above.type == "redirected_statement":
            texts += given_to(above)
        if above.type == "pipeline" and node.start_byte > above.start_byte:
            piped = True
            texts += [text for end, text in printed_in(above, tree) if end <= node.start_byte]
        if above.type == "heredoc_redirect" and node.type == "pipeline":
            piped = True
        node = above
    return Stdin(piped, texts)


def given_to(node: Node) -> list[str]:
    """The texts of the here-documents and here-strings that stand directly at a node."""
    texts: list[str] = []
    for child in node.children:
        if child.type == "heredoc_redirect":
            texts += [source(part) for part in child.children if part.type == "heredoc_body"]
        elif child.type == "herestring_redirect":
            texts += [word.text for part in child.named_children for word in words_of(part) if word.known]
    return texts


def printed_in(pipeline: Node, tree: Tree) -> list[tuple[int, str]]:
    """What the commands of a pipeline print, with where each ends; looked for once."""
    if pipeline.id not in tree.printed:
        tree.printed[pipeline.id] = [(part.end_byte, text) for part in every(pipeline) for text in printed(part)]
    return tree.printed[pipeline.id]


def printed(node: Node) -> list[str]:
    """What echo or printf will print, as far as it is known."""
    words = argv(node) if node.type == "command" else []
    if words and words[0].text in ("echo", "printf") and all(word.known for word in words):
        return [" ".join(word.text for word in words[1:] if not word.text.startswith("-")).replace("\\n", "\n")]
    return []


def went_to(nodes: Sequence[Node]) -> str:
    """`/` where the script changes into a folder whose loss is a catastrophe: relative paths may mean that then."""
    for node in nodes:
        words = argv(node) if node.type == "command" else []
        if len(words) > 1 and words[0].text in ("cd", "pushd") and is_root(words[-1].text):
            return "/"
    return ""


def is_bomb(function: Node) -> bool:
    """A function that puts itself into the background, or on both sides of a pipe."""
    name, body = function.child_by_field_name("name"), function.child_by_field_name("body")
    if name is None or body is None:
        return False
    for node in every(body):
        if node.type == "pipeline" and sum(runs(child, source(name)) for child in node.named_children) > 1:
            return True
        if runs(node, source(name)) and node.next_sibling is not None and node.next_sibling.type == "&":
            return True
    return False


def runs(node: Node, name: str) -> bool:
    words = argv(node) if node.type == "command" else []
    return bool(words) and words[0].text == name
