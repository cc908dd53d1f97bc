"""Approvals through real processes: by request, by command, by the command line and at a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import Fleet, wait_until
from tests.e2e.test_cli import as_json, run
from tests.fakes.receiver import Receiver

RISKY = "run: rm -rf build; echo gone"


def test_a_command_waits_for_its_approval_and_then_runs(make_fleet: MakeFleet, receiver: Receiver) -> None:
    fleet = make_fleet(web=2, worker=1, runner=1)
    accepted = fleet.post(RISKY, sync=True, replyUrl=receiver.url)
    assert accepted["status"] == "pending_approval", fleet.logs()
    (asked,) = accepted["approvals"]
    assert (asked["tool"], asked["arguments"]) == ("bash", {"command": "rm -rf build; echo gone"})
    assert (asked["requester"], asked["reason"]) == ("ada", "rm: it deletes folders without asking")
    status, answer = fleet.decide(asked["id"], "approve")
    assert (status, answer["approval"]["state"], answer["approval"]["decidedBy"]) == (200, "approved", "grace")
    assert "gone" in fleet.finished(accepted)["text"]
    card, news, reply = receiver.wait_for(3)
    assert (card["status"], card["approval"]["id"], card["approval"]["state"]) == (
        "pending_approval",
        asked["id"],
        "pending",
    )
    assert (news["approval"]["state"], news["text"]) == ("approved", f"grace approved {asked['id']} (bash).")
    assert (reply["status"], "approval" in reply) == ("done", False)
    assert not receiver.problems


def test_a_denied_command_is_not_run(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post(RISKY)
    (asked,) = fleet.asked(accepted)
    assert fleet.decide(asked["id"], "deny")[0] == 200
    text = fleet.finished(accepted)["text"]
    assert "grace denied this call, so it was not run." in text
    assert "gone" not in text


def test_of_many_requests_at_two_webs_one_counts_and_all_are_told_which(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=2, worker=1, runner=1)
    accepted = fleet.post(f"{RISKY}\n{RISKY}")
    asked, other = fleet.asked(accepted)
    webs = fleet.of("web")

    def decide(n: int) -> tuple[int, dict[str, Any]]:
        body = {"user": f"person {n}", "decision": "approve" if n % 2 else "deny"}
        return fleet.request(webs[n % 2], "POST", f"/webhook/internal/approvals/{asked['id']}", body)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(decide, range(50)))
    statuses = [status for status, _ in found]
    assert statuses.count(200) == 1
    assert statuses.count(409) == 49
    (winner,) = [answer["approval"] for status, answer in found if status == 200]
    for status, answer in found:
        if status == 409:
            assert answer["error"] == f"{asked['id']} was {winner['state']} by {winner['decidedBy']} already"
            assert answer["approval"] == winner
    assert [still["id"] for still in fleet.asked(accepted)] == [other["id"]]
    fleet.decide(other["id"], "deny")
    assert fleet.finished(accepted)["text"].count("gone") == (winner["state"] == "approved")


WRONG_ANSWERS: list[tuple[Any, int, str]] = [
    ({"user": "grace", "decision": "maybe"}, 400, "decision: Input should be 'approve' or 'deny'"),
    ({"decision": "approve"}, 400, "user: Field required"),
    ({"user": "grace", "decision": "approve", "bypass": "soon"}, 400, "bypass: 'soon' is no duration"),
    ({"user": "grace", "decision": "approve", "bypass": 0}, 400, "bypass"),
    ([], 400, "the body must be a JSON object such as"),
    ({"user": "eve", "decision": "approve"}, 403, "only approvers may answer this"),
    ({"user": "mallory", "decision": "deny"}, 403, "mallory is not allowed here: add them to allow.users"),
]


def test_a_wrong_answer_is_told_why_and_decides_nothing(asking: tuple[Fleet, str]) -> None:
    fleet, approval = asking
    path = f"/webhook/internal/approvals/{approval}"
    for body, status, says in WRONG_ANSWERS:
        found = fleet.request(fleet.of("web")[0], "POST", path, body)
        assert (found[0], says in found[1]["error"]) == (status, True), found
    assert fleet.sql("SELECT state FROM approval") == [("pending",)]


@pytest.fixture
def asking(make_fleet: MakeFleet) -> tuple[Fleet, str]:
    """A fleet with approvers, and the id of what it asks."""
    people = {"permissions": {"approvers": {"users": ["grace"]}}, "allow": {"users": ["ada", "grace", "eve"]}}
    fleet = make_fleet(web=1, worker=1, config={"webhook": people})
    (asked,) = fleet.asked(fleet.post(RISKY))
    return fleet, asked["id"]


def test_who_lacks_the_secret_or_comes_by_another_adapter_decides_nothing(asking: tuple[Fleet, str]) -> None:
    fleet, approval = asking
    path, body = f"/webhook/internal/approvals/{approval}", {"user": "grace", "decision": "approve"}
    web = fleet.of("web")[0]
    assert fleet.request(web, "POST", path, body, {"Authorization": "Bearer wrong"})[0] == 401
    assert fleet.request(web, "POST", "/webhook/internal/approvals/nonsense", body)[0] == 404
    # The refusal is read, whatever was still on its way: closed with bytes unread, the connection would be reset.
    for _ in range(5):
        assert fleet.request(web, "POST", path, b"x" * 7_000_000)[0] == 413
        assert fleet.request(web, "POST", path, b"x" * 7_000_000, {"Authorization": "Bearer wrong"})[0] == 401
    assert fleet.request(web, "POST", "/webhook/internal", {"user": "mallory", "text": "hello"})[0] == 403
    assert fleet.sql("SELECT count(*) FROM message WHERE actor = 'mallory'") == [(0,)]
    chat = run(fleet, "chat", f"approve {approval}").stdout
    assert chat.startswith(f"There is no {approval} here that could be meant by approve;")
    assert fleet.sql("SELECT state FROM approval") == [("pending",)]


def test_web_takes_up_who_may_answer_also_after_it_was_started_anew(make_fleet: MakeFleet) -> None:
    """A process that gunicorn makes after an edit must not go on with what its parent once read."""
    fleet = make_fleet(web=1, worker=1, config={"watch": False})
    (asked,) = fleet.asked(fleet.post(RISKY))
    file, web = fleet.folder / "heyfleet.yaml", fleet.of("web")[0]
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "approval": {"allow_self_approval": False}}))
    os.kill(web.popen.pid, signal.SIGHUP)
    wait_until(lambda: web.log.read_text().count("Booting worker") == 2, 20, fleet.logs)
    wait_until(lambda: "config_reloaded" in web.log.read_text() or fleet.get(web, "/ready")[0] == 0, 20, fleet.logs)
    fleet.ready(web)
    assert fleet.decide(asked["id"], "approve", "ada")[0] == 403
    assert fleet.decide(asked["id"], "approve", "grace")[0] == 200


def test_control_characters_are_no_way_in(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post("bash rm -rf \u0000 x")
    (asked,) = fleet.asked(accepted)
    web = fleet.of("web")[0]
    for user in ("gr\u0000ace", "\ud800", " "):
        assert fleet.decide(asked["id"], "approve", user)[0] == 400
    body = {"user": "grace", "decision": "approve"}
    assert fleet.request(web, "POST", "/webhook/internal/approvals/%00", body)[0] == 404
    assert fleet.post("approve abc\u0000defg")["status"] in ("done", "running")
    assert fleet.decide(asked["id"], "deny")[0] == 200
    assert fleet.finished(accepted)["status"] == "done"


def test_commands_are_obeyed_and_never_reach_the_model(make_fleet: MakeFleet, receiver: Receiver) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post(RISKY)
    (asked,) = fleet.asked(accepted)
    code, thread = asked["id"], accepted["threadId"]

    def said(text: str, user: str = "grace", **more: Any) -> str:
        answer = fleet.post(text, user=user, thread=thread, **more)
        assert answer["status"] == "done", answer
        return str(answer["text"])

    assert said("approvals") == f"{code}  bash rm -rf build; echo gone (for ada, 30 min left)"
    assert re.fullmatch(r"[0-9a-f]{8}  pending_approval since 0 min, for ada", said("status"))
    turned_away = fleet.finished(fleet.post("and then?", thread=thread))
    assert turned_away["text"].startswith(f"I wait for an approval ({code})")
    approved = said(f"/approve {code.upper()} bypass", eventId="once", replyUrl=receiver.url)
    assert approved.startswith(f"grace approved {code} (bash).\nada is not asked for 5 min (thread); revoke ")
    assert receiver.wait_for(1)[0]["text"] == approved
    assert said(f"approve {code} bypass", eventId="once") == approved, "the same event is answered the same way"
    assert said(f"deny {code}", user="bob") == f"{code} was approved by grace already."
    assert fleet.finished(accepted)["status"] == "done"
    (bypass,) = re.findall(r"revoke (\S+)", approved)
    assert said("bypasses") == f"{bypass}  ada is not asked (thread), granted by grace, 5 min left"
    assert fleet.finished(fleet.post(RISKY, thread=thread))["status"] == "done", "nobody is asked"
    assert said(f"revoke {bypass}") == f"Bypass {bypass} is revoked."
    assert said(f"revoke {bypass}", user="bob") == f"Not done: bypass {bypass} has ended already."
    assert said("approve zzzzzzz2").startswith("There is no zzzzzzz2 here that could be meant by approve;")
    assert said("cancel 12345678").startswith("There is no 12345678 here that could be meant by cancel;")
    assert said("approvals") == "Nothing waits for an approval here."
    assert said("bypasses") == "Nobody has a bypass here."
    assert said("status") == "Nothing is being worked on in this conversation."
    assert fleet.sql("SELECT count(*) FROM step") == [(4,)], "two messages, of two steps each"
    bodies = str(fleet.sql("SELECT body FROM entry"))
    assert "approve" not in bodies
    assert "status" not in bodies


def test_bash_and_new_keep_to_the_thread_s_order(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post("run: sleep 1; echo first > order.txt")
    thread = accepted["threadId"]
    assert fleet.finished(fleet.post("bash cat order.txt", thread=thread))["text"] == "first"
    waits = fleet.post("bash rm -rf order.txt; ls | wc -l", thread=thread, user="bob")
    (asked,) = fleet.asked(waits)
    assert asked["requester"] == "bob"
    fleet.decide(asked["id"], "approve")
    assert fleet.finished(waits)["text"].strip() == "0"
    blocked = fleet.finished(fleet.post("bash reboot", thread=thread))
    assert blocked["text"] == "Not run, it is blocked: reboot: it turns the machine off."
    before = fleet.sql("SELECT context_from FROM thread")
    fresh = fleet.finished(fleet.post("new", thread=thread))
    assert fresh["text"] == "We start afresh: I don't see what was said before any more."
    assert fleet.sql("SELECT context_from FROM thread") > before
    again = fleet.finished(fleet.post("hello again", thread=thread))
    assert "I am the demo model" in again["text"], "to the model it is a new conversation"
    assert fleet.finished(fleet.post("and again", thread=thread))["status"] == "done"


# --- the command line


def test_the_command_line_answers_lists_and_revokes(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post(RISKY)
    (asked,) = fleet.asked(accepted)
    code = asked["id"]
    assert as_json(fleet, "status")["approvals"] == {"pending": 1}
    (listed,) = as_json(fleet, "approvals", "list")
    assert (listed["id"], listed["state"], listed["requester"], listed["tool"]) == (code, "pending", "ada", "bash")
    shown = as_json(fleet, "approvals", "show", code)
    assert (shown["arguments"], shown["adapter"]) == ({"command": "rm -rf build; echo gone"}, "internal")
    assert "rm -rf build" in run(fleet, "approvals", "show", code).stdout
    assert "--for says how long" in run(fleet, "approvals", "approve", code, "--for", "1m", code=1).stderr
    assert "no duration" in run(fleet, "approvals", "approve", code, "--bypass", "--for", "soon", code=1).stderr
    said = run(fleet, "approvals", "approve", code, "--bypass", "--for", "10m").stdout
    assert f"approved {code} (bash)." in said
    assert "ada is not asked for 10 min (thread)" in said
    late = run(fleet, "approvals", "deny", code, code=1)
    assert "was approved by" in late.stderr
    assert fleet.finished(accepted)["status"] == "done"
    (bypass,) = as_json(fleet, "approvals", "bypasses")
    assert (bypass["actor"], bypass["scope"], bypass["minutes_left"]) == ("ada", "thread", 10)
    assert "ada is asked again" in run(fleet, "approvals", "revoke", bypass["id"]).stdout
    assert as_json(fleet, "approvals", "bypasses") == []
    assert as_json(fleet, "approvals", "list") == []
    assert [row["state"] for row in as_json(fleet, "approvals", "list", "--all")] == ["approved"]
    assert "there is no approval" in run(fleet, "approvals", "show", "nonsense", code=1).stderr
    trace = fleet.sql("SELECT trace FROM turn")[0][0]
    kinds = [event["kind"] for event in as_json(fleet, "events", "--trace", trace)]
    assert kinds == [
        "message_accepted",
        "approval_requested",
        "approval_approved",
        "bypass_granted",
        "call_done",
        "turn_finished",
        "bypass_revoked",
    ]


def test_approvals_are_answered_in_place_at_a_terminal(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    shown = at_terminal(fleet, RISKY, [("[y]es", "maybe"), ("[y]es", "y")])
    assert "Approval " in shown
    assert "rm -rf build; echo gone" in shown
    assert "approved" in shown
    assert "gone" in shown.split("approved", 1)[1]
    denied = at_terminal(fleet, RISKY, [("[y]es", "n")])
    assert "denied this call, so it was not run." in denied
    bypassed = at_terminal(fleet, RISKY, [("[y]es", "b")])
    assert "is not asked for 5 min (thread)" in bypassed


def test_without_a_terminal_chat_says_how_to_answer(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    command = [sys.executable, "-m", "app.cli.main", "chat", RISKY]
    with subprocess.Popen(
        command, cwd=fleet.folder, env=fleet.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: as_json(fleet, "approvals", "list") != [], 20, fleet.logs)
        (asked,) = as_json(fleet, "approvals", "list")
        run(fleet, "approvals", "approve", asked["id"])
        said = process.communicate(timeout=30)[0]
    assert f"heyfleet approvals approve {asked['id']}" in said
    assert "gone" in said


def at_terminal(fleet: Fleet, text: str, answers: list[tuple[str, str]]) -> str:
    """What `heyfleet chat TEXT` shows on a terminal, where each prompt is answered in its turn."""
    command = [sys.executable, "-m", "app.cli.main", "chat", text]
    master, slave = pty.openpty()
    with subprocess.Popen(
        command, cwd=fleet.folder, env={**fleet.environment, "TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        shown, pending = "", list(answers)
        seen = 0
        while True:
            try:
                shown += os.read(master, 4096).decode(errors="replace")
            except OSError:  # the other side is closed
                break
            if pending and pending[0][0] in shown[seen:]:
                seen = len(shown)
                os.write(master, pending.pop(0)[1].encode() + b"\n")
        assert process.wait(30) == 0, shown
    os.close(master)
    assert not pending, shown
    return shown.replace("\r", "")


# --- cancelling


def cancel_by_api(fleet: Fleet, accepted: dict[str, Any]) -> None:
    path = f"/webhook/internal/threads/{accepted['threadId']}/runs/{accepted['runId']}/cancel"
    assert fleet.request(fleet.of("web")[0], "POST", path, {"user": "ada"})[0] == 202


def cancel_by_command(fleet: Fleet, accepted: dict[str, Any]) -> None:
    answer = fleet.post(f"cancel {accepted['runId'][-8:]}", thread=accepted["threadId"])
    assert answer["text"].endswith("is being cancelled."), answer


WAYS: list[Callable[[Fleet, dict[str, Any]], None]] = [cancel_by_api, cancel_by_command]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_cancelled_wherever_it_is(
    make_fleet: MakeFleet, receiver: Receiver, tmp_path: Path, way: Callable[..., None]
) -> None:
    """How long it takes is measured by `bench.cancelling`."""
    fleet = make_fleet(
        web=1, worker=1, runner=1, config={"runtime": {"name": "host", "workspace": str(tmp_path / "ws")}}
    )

    def ends(accepted: dict[str, Any]) -> None:
        way(fleet, accepted)
        ended = fleet.finished(accepted, 10)
        assert (ended["status"], ended["text"]) == ("cancelled", "Cancelled by ada.")

    began = tmp_path / "began"
    command = fleet.post(f"run: touch {began}; sleep 60")
    wait_until(began.exists, 30, fleet.logs)
    queued = fleet.post("and then?", thread=command["threadId"], replyUrl=receiver.url)
    ends(queued)
    assert [body["text"] for body in receiver.wait_for(1)] == ["Cancelled by ada."]
    assert fleet.run(command)["status"] == "running", "the one before it goes on"
    ends(command)
    asking = fleet.post(RISKY)
    fleet.asked(asking)
    ends(asking)
    assert len(receiver.got) == 1


def test_who_may_cancel(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet(web=1, worker=1, runner=1)
    accepted = fleet.post(RISKY)
    fleet.asked(accepted)
    path = f"/webhook/internal/threads/{accepted['threadId']}/runs/{accepted['runId']}/cancel"
    web = fleet.of("web")[0]
    status, answer = fleet.request(web, "POST", path, {"user": "eve"})
    assert (status, answer["error"]) == (
        403,
        "only who asked for it, approvers and admins may cancel this; ask one of them",
    )
    said = fleet.post(f"cancel {accepted['runId']}", user="eve", thread=accepted["threadId"])["text"]
    assert said == "Not done: only who asked for it, approvers and admins may cancel this; ask one of them."
    assert fleet.request(web, "POST", path.replace(accepted["runId"], "nonsense"), {"user": "ada"})[0] == 404
    assert "is being cancelled" in run(fleet, "turns", "cancel", accepted["runId"]).stdout
    assert fleet.finished(accepted)["status"] == "cancelled"
    assert fleet.request(web, "POST", path, {"user": "ada"})[0] == 409
    assert "finished, or cancelled already" in run(fleet, "turns", "cancel", accepted["runId"], code=1).stderr
