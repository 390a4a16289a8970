"""Ten filters of each kind, as one writes them: none of them takes an event of the recorded mix away.

So all that is measured with them is their own cost: a filter that drops events saves what comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping

ADVANCED = {
    "eventfilter(action(exclude),name(RTCPSent))": "",
    "eventfilter(action(exclude),name(RTCPReceived))": "",
    "eventfilter(action(exclude),name(Newexten),header(Application),method(exact))": "Verbose",
    "eventfilter(action(exclude),name(VarSet),header(Variable),method(starts_with))": "SECRET_",
    "eventfilter(action(exclude),name(UserEvent),header(UserEvent),method(exact))": "Debug",
    "eventfilter(action(exclude),header(Channel),method(starts_with))": "PJSIP/probe-",
    "eventfilter(action(exclude),header(Context),method(exact))": "monitoring",
    "eventfilter(action(exclude),header(CallerIDName),method(contains))": "anonymous test",
    "eventfilter(action(exclude),header(Queue),method(ends_with))": "-test",
    "eventfilter(action(exclude),header(CallerIDNum),method(regex))": "^99[0-9]{5}$",
}
BY_NAME = {
    "eventfilter(action(exclude),name(RTCPSent))": "",
    "eventfilter(action(exclude),name(RTCPReceived))": "",
    "eventfilter(action(exclude),name(ChallengeSent))": "",
    "eventfilter(action(exclude),name(ContactStatus),header(ContactStatus),method(exact))": "Probed",
    "eventfilter(action(exclude),name(Newexten),header(Application),method(exact))": "Verbose",
    "eventfilter(action(exclude),name(VarSet),header(Variable),method(starts_with))": "SECRET_",
    "eventfilter(action(exclude),name(VarSet),header(Variable),method(regex))": "^(SIP|PJSIP)[A-Z_]+$",
    "eventfilter(action(exclude),name(UserEvent),header(UserEvent),method(exact))": "Debug",
    "eventfilter(action(exclude),name(CEL),header(EventName),method(exact))": "LINKEDID_BEGIN",
    "eventfilter(action(exclude),name(Hangup),header(Context),method(exact))": "monitoring",
}
LEGACY = (
    "^Event: RTCP(Sent|Received)",
    "Event: ChallengeSent",
    "Application: Verbose",
    "Variable: SECRET_",
    "UserEvent: Debug",
    "Channel: PJSIP/probe-",
    "Context: monitoring",
    "CallerIDName: .*anonymous test",
    "Queue: [a-z]+-test",
    "CallerIDNum: 99[0-9]{5}",
)


def _lines(filters: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{criteria} = {pattern}" for criteria, pattern in filters.items())


SETS = {
    "no filters": (),
    "10 advanced, each for one name": _lines(BY_NAME),
    "10 advanced, five for every event": _lines(ADVANCED),
    "10 legacy": tuple(f"eventfilter = !{pattern}" for pattern in LEGACY),
}
