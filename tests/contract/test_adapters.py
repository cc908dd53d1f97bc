"""One contract for every chat adapter: what people of its provider, and the provider, can count on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db import Database
from app.errors import Transient
from app.ports import Image, UserText
from tests.contract.chats import Chat
from tests.contract.discord_chat import DiscordChat
from tests.contract.slack_chat import SlackChat
from tests.contract.telegram_chat import TelegramChat
from tests.db.doubles import bash, call
from tests.db.rows import assert_settled, rows

KINDS: dict[str, type[SlackChat] | type[TelegramChat] | type[DiscordChat]] = {
    "slack": SlackChat,
    "telegram": TelegramChat,
    "discord": DiscordChat,
}
WHERE = ["channel", "dm"]


@pytest.fixture(params=list(KINDS))
def chat(request: pytest.FixtureRequest, database_url: str, redis_url: str) -> Iterator[Chat]:
    with KINDS[request.param].opened(database_url, redis_url) as opened:
        yield opened
        assert opened.fake.problems == []


def ask(chat: Chat, where: str, text: str, who: str = "ann") -> object:
    return chat.dm(text, who) if where == "dm" else chat.say(text, who, mention=True)


# --- in and out


@pytest.mark.parametrize("where", WHERE)
def test_a_message_is_answered_where_it_was_said(chat: Chat, where: str) -> None:
    chat.start()
    ask(chat, where, "hello")
    chat.until_sent()
    assert chat.heard(where) == ["re: hello"]
    assert chat.turns() == 1
    assert_settled(chat.worker.db)


def test_what_is_not_meant_for_the_agent_leaves_nothing(chat: Chat, db: Database) -> None:
    chat.start()
    chat.say("we talk among ourselves")
    assert [rows(db, f"SELECT 1 FROM {table}") for table in ("turn", "message", "thread", "receipt")] == [[]] * 4


def test_a_conversation_goes_on_without_mentioning_the_bot_again(chat: Chat) -> None:
    chat.start()
    first = chat.say("hello", mention=True)
    chat.until_sent()
    chat.say("and then?", thread=first)
    chat.until_sent()
    assert chat.heard("channel") == ["re: hello", "re: and then?"]
    assert len(rows(chat.worker.db, "SELECT id FROM thread")) == 1


def test_the_bot_does_not_answer_itself(chat: Chat) -> None:
    chat.start(adapter={"allow": {"bots": True}})
    chat.bot_says()
    assert chat.turns() == 0


def test_an_event_delivered_many_times_to_many_processes_is_one_turn(chat: Chat) -> None:
    chat.start(ingresses=2)
    said = chat.dm("hello")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda n: chat.redeliver(said, n % 2), range(16)))
    assert set(statuses) == {200}
    chat.until_sent()
    assert chat.turns() == 1
    assert chat.heard("dm") == ["re: hello"]


def test_who_is_not_the_provider_is_refused(chat: Chat) -> None:
    chat.start()
    assert chat.forged() == 401
    assert chat.turns() == 0


# --- who and what


@pytest.mark.parametrize(
    ("allow", "where", "who", "answered"),
    [
        ({}, "dm", "ann", True),
        ({"dms": False}, "dm", "ann", False),
        ({"dms": False}, "channel", "ann", True),
        ({"users": ["{ann}"]}, "channel", "ann", True),
        ({"users": ["{ann}"]}, "channel", "bob", False),
        ({"users": ["{ann}"]}, "dm", "bob", False),
        ({"channels": ["{channel}"]}, "channel", "bob", True),
        ({"channels": ["elsewhere"]}, "channel", "bob", False),
        ({"channels": ["elsewhere"]}, "dm", "bob", True),
        ({"channels": ["{channel}"], "users": ["{ann}"]}, "channel", "bob", False),
        ({}, "channel", "robot", False),
        ({"bots": True}, "channel", "robot", True),
        ({"bots": ["{robot}"]}, "channel", "robot", True),
        ({"bots": ["somebody"]}, "channel", "robot", False),
    ],
)
def test_who_is_let_in(chat: Chat, allow: dict[str, object], where: str, who: str, answered: bool) -> None:
    if who == "robot" and not chat.bots_meet:
        pytest.skip("its provider tells no bot what another one says")
    names = {name: person.id for name, person in chat.people.items()} | {"channel": chat.channel.id}
    filled = {
        ("chats" if key == "channels" and isinstance(chat, TelegramChat) else key): [
            str(item).format_map(names) for item in value
        ]
        if isinstance(value, list)
        else value
        for key, value in allow.items()
    }
    chat.start(adapter={"allow": filled})
    ask(chat, where, "hello", who)
    assert chat.turns() == int(answered)


@pytest.mark.parametrize(
    ("trigger", "thread_trigger", "begun", "mention", "answered"),
    [
        ("mention", "message", False, False, False),
        ("mention", "message", False, True, True),
        ("message", "message", False, False, True),
        ("mention", "message", True, False, True),
        ("mention", "mention", True, False, False),
        ("mention", "mention", True, True, True),
        ("message", "mention", True, False, False),
        ("mention", False, True, False, False),
        ("message", False, True, True, False),
    ],
)
def test_what_triggers_a_turn(
    chat: Chat, trigger: str, thread_trigger: str | bool, begun: bool, mention: bool, answered: bool
) -> None:
    chat.start(adapter={"trigger": trigger, "thread_trigger": thread_trigger})
    root = chat.say("hello", mention=True) if begun else None
    before = chat.turns()
    chat.say("is it so?", mention=mention, thread=root)
    assert chat.turns() - before == int(answered)


def test_a_bot_has_to_mention_this_one_each_time_or_two_would_talk_for_ever(chat: Chat) -> None:
    if not chat.bots_meet:
        pytest.skip("its provider tells no bot what another one says")
    chat.start(adapter={"allow": {"bots": True}, "trigger": "message"})
    root = chat.say("hello", "robot", mention=True)
    chat.say("and you?", "robot", thread=root)
    chat.say("and you?", "robot")
    assert chat.turns() == 1


def test_who_mentions_the_bot_and_says_nothing_else_is_heard(chat: Chat) -> None:
    chat.start()
    chat.say("", mention=True)
    chat.until_sent()
    assert chat.heard("channel") == ["re: (They mentioned you, and said nothing else.)"]


def test_a_busy_thread_says_so_where_it_is_told_to(chat: Chat) -> None:
    chat.start(task={"busy": "reject"})
    chat.dm("first")
    chat.dm("second")
    chat.until_sent()
    assert chat.heard("dm") == ["I am busy with an earlier message here; say it again when that is done.", "re: first"]


def test_messages_that_were_taken_in_by_one_turn_get_one_reply(chat: Chat) -> None:
    chat.start()
    said = [chat.dm("first"), chat.dm("second")]
    chat.until_sent()
    assert chat.heard("dm") == ["re: first; second"]
    assert [chat.marks(message) for message in said] == [[], []]


# --- what shows that the agent is at work


@pytest.mark.parametrize("where", WHERE)
def test_a_message_shows_that_the_agent_is_at_work_on_it(chat: Chat, where: str) -> None:
    chat.start()
    said = ask(chat, where, "hello")
    for (destination,) in rows(chat.worker.db, "SELECT id FROM destination"):
        chat.worker.deliver(destination)
    assert len(chat.marks(said)) == 1
    chat.until_sent()
    assert chat.marks(said) == []


def test_it_shows_nothing_where_it_is_told_not_to(chat: Chat) -> None:
    chat.start(adapter={"progress": False})
    chat.dm("hello")
    chat.until_sent()
    assert chat.states("progress%") == []


def test_no_reply_waits_for_what_shows_progress(chat: Chat) -> None:
    chat.start()
    for name in chat.reacting:
        chat.fake.plan(name, *["500"] * 5)
    chat.dm("hello")
    chat.fake.wait_for(lambda: (chat.work(), chat.heard("dm"))[1] == ["re: hello"], 5)


def test_progress_that_comes_too_late_is_not_shown_any_more(chat: Chat) -> None:
    chat.start()
    said = chat.dm("hello")
    (thread,) = rows(chat.worker.db, "SELECT id FROM thread")[0]
    chat.worker.services.deliver(thread)
    chat.worker.advance(thread)
    chat.until_sent()
    assert chat.marks(said) == []
    assert chat.states("progress%") == ["sent", "sent"]
    assert [call for name in chat.reacting for call in chat.fake.called(name)] == []


def test_who_is_turned_away_sees_no_progress(chat: Chat) -> None:
    chat.model.script.append([bash("rm -rf x")])
    chat.start()
    chat.dm("clean up")
    chat.until_sent()
    said = chat.dm("and now?")
    chat.until_sent()
    assert "I wait for an approval" in chat.heard("dm")[-1]
    assert chat.marks(said) == []


# --- approvals


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("label", "ran"), [("Approve", ["rm -rf *x* <y>"]), ("Deny", [])])
def test_an_approval_is_answered_with_a_button(chat: Chat, where: str, label: str, ran: list[str]) -> None:
    chat.model.script.append([bash("rm -rf *x* <y>")])
    chat.start()
    ask(chat, where, "clean up")
    chat.until_sent()
    assert "rm -rf *x* <y>" in chat.heard(where)[-1], "to the letter"
    assert len(chat.buttons(where)) == 3
    assert chat.press(where, label) == ""
    chat.until_sent()
    assert chat.ran == ran
    card, reply = chat.heard(where)
    assert ("approved" if ran else "denied") in card
    assert reply.startswith("re: ")
    assert chat.buttons(where) == []
    assert_settled(chat.worker.db)


def test_who_may_not_answer_is_told_so_and_nobody_else(chat: Chat) -> None:
    chat.model.script.append([bash("rm -rf x")])
    chat.start(adapter={"permissions": {"approvers": {"users": [chat.people["bob"].id]}}})
    chat.say("clean up", mention=True)
    chat.until_sent()
    assert "only approvers may answer this" in chat.press("channel", "Approve", "ann")
    chat.until_sent()
    assert chat.ran == []
    assert chat.press("channel", "Approve", "bob") == ""
    chat.until_sent()
    assert chat.ran == ["rm -rf x"]
    assert len(chat.heard("channel")) == 2


def test_two_cards_are_two_decisions(chat: Chat) -> None:
    chat.model.script.append([bash("rm -rf a"), bash("rm -rf b")])
    chat.start()
    chat.say("clean up", mention=True)
    chat.until_sent()
    codes = [code for (code,) in rows(chat.worker.db, "SELECT code FROM approval ORDER BY created_at, code")]
    assert len(set(codes)) == 2
    chat.order(f"deny {codes[0]}")
    assert sorted(state for (state,) in rows(chat.worker.db, "SELECT state FROM approval")) == ["denied", "pending"]


# --- commands


def test_a_command_s_giver_alone_is_told_what_came_of_it(chat: Chat) -> None:
    chat.start()
    assert chat.order("approvals") == "Nothing waits for an approval here."
    chat.until_sent()
    if chat.whispers:
        assert chat.order("what?").startswith("I know: approvals")
        assert chat.heard("channel") == []


def test_a_command_is_obeyed_once(chat: Chat) -> None:
    chat.start()
    chat.dm("status")
    chat.until_sent()
    assert chat.heard("dm") == ["Nothing is being worked on in this conversation."]
    assert not chat.model.prompts


# --- deliveries


def test_a_send_whose_answer_is_lost(chat: Chat) -> None:
    """R5: exactly once where it can be known, else flagged and not sent again."""
    chat.start(adapter={"progress": False})
    chat.fake.plan(chat.posting, "applied-drop")
    chat.dm("hello")
    chat.until_sent()
    chat.dm("next")
    chat.until_sent()
    assert chat.heard("dm") == ["re: hello", "re: next"]
    assert chat.states() == ["sent" if chat.settles else "ambiguous", "sent"]


def test_a_send_that_did_not_arrive(chat: Chat) -> None:
    chat.start(adapter={"progress": False})
    chat.fake.plan(chat.posting, "drop")
    chat.dm("hello")
    chat.until_sent()
    assert chat.heard("dm") == (["re: hello"] if chat.settles else [])
    assert chat.states() == ["sent" if chat.settles else "ambiguous"]


def test_too_many_requests_are_waited_for_and_order_is_kept(chat: Chat) -> None:
    chat.start(adapter={"progress": False})
    chat.fake.plan(chat.posting, "429 1")
    for n in range(3):
        chat.dm(f"{n}")
        chat.work()
    chat.until_sent()
    assert chat.heard("dm") == ["re: 0", "re: 1", "re: 2"]
    calls = chat.fake.called(chat.posting)
    assert calls[0].status == 429
    assert calls[1].at - calls[0].at >= 1


def test_a_long_reply_leaves_in_parts_and_loses_nothing(chat: Chat) -> None:
    chat.start(adapter={"progress": False})
    words = " ".join(f"word{n}" for n in range(2000))
    chat.model.script.append(f"{words}\n\n```\ncode here\n```")
    chat.dm("tell me all")
    chat.until_sent()
    heard = chat.heard("dm")
    assert len(heard) > 2
    assert " ".join(" ".join(heard).replace("```", " ").split()) == f"{words} code here"


def test_files_go_with_the_reply(chat: Chat) -> None:
    chat.model.script += [[bash("echo hi")], [call("attach", path="out/a.txt")]]
    chat.start(adapter={"progress": False})
    chat.dm("give me a file")
    chat.until_sent()
    assert [name for name, _ in chat.files("dm")] == ["a.txt"]
    assert chat.files("dm")[0][1]
    assert chat.heard("dm")[-1].startswith("re: ")


# --- files of people


def test_a_file_that_somebody_sends_is_read_and_put_into_the_sandbox(chat: Chat) -> None:
    chat.model.script.append([bash("ls")])
    chat.start()
    chat.share("look at this", "notes(1).bin", b"\x00\x01 content")
    chat.until_sent()
    (news,) = chat.model.prompts[0].new
    assert isinstance(news, UserText)
    assert news.text.startswith("look at this\n\nAttached file ")
    assert "in the sandbox as inbox/" in news.text
    (box,) = chat.runtime.opened
    ((name, content),) = box.stored.items()
    assert name == "inbox/notes_1_.bin"
    assert content == b"\x00\x01 content"


def test_a_short_text_is_shown_to_the_model_at_once(chat: Chat) -> None:
    chat.start()
    chat.share("look at this", "a.txt", "grüße".encode())
    chat.until_sent()
    (news,) = chat.model.prompts[0].new
    assert isinstance(news, UserText)
    assert "grüße" in news.text


def test_a_file_that_can_t_be_had_is_told_to_the_model(chat: Chat) -> None:
    chat.start(attachments={"max_bytes": 5})
    chat.share("look at this", "a.bin", b"too long")
    chat.until_sent()
    (news,) = chat.model.prompts[0].new
    assert isinstance(news, UserText)
    assert "can't be read: it is larger than 5 bytes" in news.text
    assert_settled(chat.worker.db)


def test_a_picture_is_shown_to_the_model(chat: Chat) -> None:
    chat.start()
    picture = b"\x89PNG\r\n\x1a\n" + b"x" * 100
    chat.share("what is this?", "a.png", picture)
    chat.until_sent()
    (news,) = chat.model.prompts[0].new
    assert isinstance(news, UserText)
    assert news.images == [Image("image/png", picture)]


def test_a_picture_is_shown_as_what_it_is_and_one_that_is_too_large_hides_no_other(chat: Chat) -> None:
    chat.start(task={"busy": "steer"})
    jpeg = b"\xff\xd8\xff\xe0" + b"x" * 100
    chat.share("large", "large.png", b"\x89PNG\r\n\x1a\n" + b"x" * 3_800_000)
    chat.share("what are these?", "a.png", jpeg)
    chat.share("and this?", "b.png", b"no picture at all")
    chat.until_sent()
    images = [image for news in chat.model.prompts[0].new if isinstance(news, UserText) for image in news.images]
    assert images == [Image("image/jpeg", jpeg)]


# --- drafts


def test_a_draft_becomes_a_long_reply_in_a_script_of_several_bytes(chat: Chat) -> None:
    """What a provider counts when a message is changed is not what it counts when one is sent."""
    long = " ".join(f"слово{n}" for n in range(1000))
    chat.model.says = ["слово0"]
    chat.model.script.append(long)
    chat.start(adapter={"streaming": True, "progress": False})
    chat.dm("расскажи")
    chat.until_sent()
    assert chat.states() == ["sent"]
    assert " ".join(chat.heard("dm")) == long


def test_the_reply_can_be_read_while_it_is_written(chat: Chat) -> None:
    chat.model.says = ["It all began", "It all began"]
    chat.model.script.append("It all began long ago.")
    chat.start(adapter={"streaming": True, "progress": False})
    seen: list[list[str]] = []
    chat.model.on_say = lambda: seen.append(chat.heard("dm"))
    chat.dm("tell me")
    chat.until_sent()
    assert seen[-1] == ["It all began …"]
    assert chat.heard("dm") == ["It all began long ago."]
    assert (chat.states("draft"), chat.states()) == (["sent"], ["sent"])


def test_a_draft_is_changed_once_a_second_and_the_reply_takes_its_place_however_long_it_is(chat: Chat) -> None:
    words = [f"word{n}" for n in range(1500)]
    chat.model.says = [" ".join(words[: n + 1]) for n in range(0, 1500, 100)]
    chat.model.script.append(" ".join(words))
    chat.start(adapter={"streaming": True, "progress": False})
    chat.model.on_say = lambda: time.sleep(0.15)  # as a model takes its time: so that several changes are due
    chat.dm("tell me")
    chat.until_sent()
    assert " ".join(chat.heard("dm")).split() == words
    assert 2 <= chat.edits("dm") <= 5


def test_a_turn_that_another_process_goes_on_with_has_the_draft_of_the_first(chat: Chat) -> None:
    chat.model.says = ["One moment"]
    chat.model.script += [Transient("overloaded"), "Here you are."]
    chat.start(adapter={"streaming": True, "progress": False})
    chat.dm("tell me")
    chat.until_sent()
    assert chat.heard("dm") == ["One moment …"]
    chat.worker.db.rows("UPDATE turn SET retry_at = now()")
    chat.worker.db.rows("UPDATE thread SET wake_at = now()")
    chat.until_sent()
    assert chat.heard("dm") == ["Here you are."]


def test_a_draft_that_somebody_deletes_is_not_made_again_and_again(chat: Chat) -> None:
    chat.model.says = ["It all began", "It all began long", "It all began long ago"]
    chat.model.script.append("It all began long ago.")
    chat.start(adapter={"streaming": True, "progress": False})
    deleted: list[str] = []

    def say() -> None:
        if not deleted:
            deleted.extend(chat.heard("dm"))
            chat.delete_last("dm")
        time.sleep(1.05)  # so that the next change is due

    chat.model.on_say = say
    chat.dm("tell me")
    chat.until_sent()
    assert deleted == ["It all began …"]
    assert chat.heard("dm") == ["It all began long ago."]


def test_a_reply_whose_draft_is_gone_and_whose_answer_is_lost_is_there_once(chat: Chat) -> None:
    chat.model.says = ["It all began"]
    chat.model.script.append("It all began long ago.")
    chat.start(adapter={"streaming": True, "progress": False})

    def say() -> None:
        chat.delete_last("dm")
        chat.fake.plan(chat.posting, "applied-drop")

    chat.model.on_say = say
    chat.dm("tell me")
    chat.until_sent()
    assert chat.heard("dm") == ["It all began long ago."]
    assert chat.states() == ["sent" if chat.settles else "ambiguous"]
