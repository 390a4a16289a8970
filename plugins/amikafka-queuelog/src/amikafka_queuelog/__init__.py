"""The `queuelog` source: Asterisk's queue_log. Each line becomes an event.

Asterisk's documentation, "Queue Logs", explains the fields:

    1366720340|1366720340.303267|MYQUEUE|SIP/8007|RINGNOANSWER|1000
"""

from __future__ import annotations

from dataclasses import dataclass

from amikafka_tail.api import LineEvent, LineLog, LineLogOptions, Register, ReplayableSource, hookimpl

AMIKAFKA_API = "1.0"

WAIT = ("Position", "OrigPosition", "WaitTime")
CALL = ("HoldTime", "CallTime", "OrigPosition")
TRANSFER = ("Extension", "Context", *CALL)
PARAMETERS: dict[str, tuple[str, ...]] = {
    "ABANDON": WAIT,
    "AGENTCALLBACKLOGIN": ("Login",),
    "AGENTCALLBACKLOGOFF": ("Login", "LoginTime", "Reason"),
    "AGENTLOGIN": ("Channel",),
    "AGENTLOGOFF": ("Channel", "LoginTime"),
    "ATTENDEDTRANSFER": ("Method", "MethodData", *CALL),
    "BLINDTRANSFER": TRANSFER,
    "COMPLETEAGENT": CALL,
    "COMPLETECALLER": CALL,
    "CONNECT": ("HoldTime", "BridgedUniqueid", "RingTime"),
    "ENTERQUEUE": ("URL", "CallerIDNum", "OrigPosition", "CallerIDName"),
    "EXITEMPTY": WAIT,
    "EXITWITHKEY": ("Key", *WAIT),
    "EXITWITHTIMEOUT": WAIT,
    "PAUSE": ("Reason",),
    "PAUSEALL": ("Reason",),
    "PENALTY": ("Penalty",),
    "RINGCANCELED": ("RingTime",),
    "RINGNOANSWER": ("RingTime",),
    "TRANSFER": TRANSFER,
    "UNPAUSE": ("Reason",),
    "UNPAUSEALL": ("Reason",),
}
"""The fields after the event's type. Fields without a name here become `Data1`, `Data2` and so on."""
NOTHING = b"NONE"
FIELDS = 5


@dataclass(frozen=True, kw_only=True)
class QueueLogOptions(LineLogOptions):
    """Options of the section `[queuelog]`."""

    path: tuple[str, ...] = ("/var/log/asterisk/queue_log",)
    """Files or patterns, separated by commas; each file is read with its rotated files."""


def queuelog(options: QueueLogOptions) -> ReplayableSource:
    """Read the log of Asterisk's queues: each line becomes an event QueueLog."""
    return LineLog(options, read_line)


def read_line(line: bytes) -> LineEvent | None:
    """Return the event of one line. Raises `ValueError` for a line that is not from queue_log."""
    if not line.strip():
        return None
    time, *fields = line.replace(b"\r", b" ").split(b"|")
    seconds, _, fraction = time.partition(b".")
    if not seconds.isdigit() or len(seconds) > 12 or (fraction and not fraction.isdigit()):
        raise ValueError("does not begin with a time in seconds since 1970")
    if len(fields) < FIELDS - 1:
        raise ValueError(f"has {len(fields) + 1} fields, a line of queue_log has at least {FIELDS}")
    call, queue, agent, kind, *parameters = fields
    lines = [
        b"Event: QueueLog",
        b"Privilege: agent,all",
        b"Timestamp: " + time,
        b"QueueEvent: " + kind,
    ]
    # NONE means no call, no queue or no agent.
    named = ((b"Uniqueid", call), (b"Queue", queue), (b"Agent", agent))
    lines += [name + b": " + value for name, value in named if value not in (NOTHING, b"")]
    names = PARAMETERS.get(kind.decode("latin-1"), ())
    while parameters and not parameters[-1]:
        parameters.pop()
    for number, value in enumerate(parameters):
        name = names[number] if number < len(names) else f"Data{number + 1}"
        lines.append(f"{name}: ".encode() + value)
    return LineEvent(b"\r\n".join(lines), int(seconds) * 1000 + int(fraction[:3].ljust(3, b"0") or 0))


@hookimpl
def register_sources(register: Register) -> None:
    """Register the source."""
    register("queuelog", QueueLogOptions, queuelog)
