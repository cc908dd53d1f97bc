"""SQLAlchemy tables: one kind of row per file."""

from __future__ import annotations

from app.tables.approval import Approval
from app.tables.attachment import Attachment
from app.tables.base import Base
from app.tables.bypass import Bypass
from app.tables.call import Call
from app.tables.delivery import Delivery
from app.tables.destination import Destination
from app.tables.entry import Entry
from app.tables.event import Event
from app.tables.job import Job
from app.tables.job_run import JobRun
from app.tables.message import Message
from app.tables.occurrence import Occurrence
from app.tables.process import Process
from app.tables.receipt import Receipt
from app.tables.role import Role
from app.tables.runner import Runner
from app.tables.sandbox import Sandbox
from app.tables.slot import Slot
from app.tables.step import Step
from app.tables.thread import Thread
from app.tables.turn import Turn

__all__ = [
    "Approval",
    "Attachment",
    "Base",
    "Bypass",
    "Call",
    "Delivery",
    "Destination",
    "Entry",
    "Event",
    "Job",
    "JobRun",
    "Message",
    "Occurrence",
    "Process",
    "Receipt",
    "Role",
    "Runner",
    "Sandbox",
    "Slot",
    "Step",
    "Thread",
    "Turn",
]
