"""Ten filters of each kind, as one writes them: none of them takes an event of the recorded mix away.

So all that is measured with them is their own cost: a filter that drops events saves what comes after it.
"""

from __future__ import annotations

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
SETS = {
    "no filters": (),
    "10 advanced": tuple(f"{criteria} = {pattern}" for criteria, pattern in ADVANCED.items()),
    "10 legacy": tuple(f"eventfilter = !{pattern}" for pattern in LEGACY),
}
