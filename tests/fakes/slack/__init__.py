"""A fake Slack: its Web API, its events over HTTP and Socket Mode, its files; and it refuses what Slack refuses.

    with serving_slack() as fake:
        channel, ann = fake.channel("general"), fake.person("ann")
        asked = fake.say(channel, ann, f"<@{fake.bot_user}> hello")
        fake.deliver(url_of_the_app, fake.events_of(asked)[0])
        WebClient(token=fake.bot_token, base_url=fake.base_url).chat_postMessage(channel=channel.id, text="hi")
        assert fake.messages(channel)[-1].text == "hi"

`fake.plan("chat.postMessage", "applied-drop")` and the like: see `tests.fakes.provider`.
"""

from tests.fakes.slack.delivery import HttpResult
from tests.fakes.slack.events import Response
from tests.fakes.slack.service import FakeSlack, serving_slack
from tests.fakes.slack.sockets import Delivery
from tests.fakes.slack.workspace import Channel, File, Group, Message, Person

__all__ = [
    "Channel",
    "Delivery",
    "FakeSlack",
    "File",
    "Group",
    "HttpResult",
    "Message",
    "Person",
    "Response",
    "serving_slack",
]
