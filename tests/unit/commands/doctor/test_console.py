"""What Asterisk 22's console printed, word for word."""

from __future__ import annotations

import pytest

from amikafka_tail.commands.doctor.console import manager_state, module_is_loaded, read_rights

SETTINGS = """
Global Settings:
----------------
  Manager (AMI):             Yes            
  Web Manager (AMI/HTTP):    No             
  TCP Bindaddress:           127.0.0.1:44623
  HTTP Timeout (seconds):    60             
  TLS Enable:                No             
  Allow multiple login:      Yes            
  Display connects:          No             
  Timestamp events:          Yes            
  Channel vars:              CHANNEL(accountcode),LABVAR
  Disabled events:           Newexten,RTCPSent
  Debug:                     No             
"""  # noqa: W291
USER = """
          username: amikafka
            secret: <Set>
               ACL: yes
         read perm: system,call,log,all
        write perm: reporting
   displayconnects: no
"""
MODULES = """Module                         Description                              Use Count  Status      Support Level
app_ami_kafka.so               AMI events to Kafka                      0          Running         extended
1 modules loaded
"""  # noqa: E501


def test_the_settings() -> None:
    state = manager_state(SETTINGS)
    assert state is not None
    assert (state.enabled, state.timestamps, state.debug, state.multiple_login) == (True, True, False, True)
    assert state.channel_variables == ("CHANNEL(accountcode)", "LABVAR")
    assert state.disabled_events == ("Newexten", "RTCPSent")


def test_variables_with_commas_in_parentheses_are_one() -> None:
    state = manager_state(SETTINGS.replace("LABVAR", "CHANNEL(a,b),X"))
    assert state is not None
    assert state.channel_variables == ("CHANNEL(accountcode)", "CHANNEL(a,b)", "X")


@pytest.mark.parametrize("output", ["", "No such command 'manager show settings'", "Unable to connect"])
def test_something_else_is_no_settings(output: str) -> None:
    assert manager_state(output) is None


def test_the_rights_of_a_user() -> None:
    assert read_rights(USER) == {"system", "call", "log", "all"}
    assert read_rights(USER.replace("system,call,log,all", "<none>")) == set()
    assert read_rights("There is no manager called nobody\n") is None


def test_a_module_that_runs() -> None:
    assert module_is_loaded(MODULES, "app_ami_kafka")
    assert not module_is_loaded(MODULES.replace("Running    ", "Not Running"), "app_ami_kafka")
    assert not module_is_loaded("0 modules loaded\n", "app_ami_kafka")
