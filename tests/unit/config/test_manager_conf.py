import random
from pathlib import Path

import pytest

from amikafka_tail.config import files, manager_conf, settings
from amikafka_tail.config.dialect import parse
from amikafka_tail.config.manager_conf import ManagerUser, find_user, obstacles
from amikafka_tail.plugins import loader

FIELD = Path(__file__).parents[2] / "data" / "field" / "ami" / "manager-conf"
PATH = Path("manager.conf")
REGISTRY = loader.load("")
WORKING = "[general]\nenabled = yes\n"


def user(text: str, name: str = "amikafka") -> ManagerUser:
    return find_user(parse(PATH, lambda _path: text, lambda _pattern: []), name)


def said(text: str) -> list[str]:
    return [str(each) for each in obstacles(parse(PATH, lambda _path: text, lambda _pattern: []), PATH)]


JUDGED = {
    # What a running Asterisk 22.10.1 takes: the port and the secret that log in.
    "m00-plain": (22010, "abc10"),
    "m01-case-names": (22011, "abc11"),
    "m01b-case-secret-only": (22010, "abc12"),
    "m01c-case-general": (22011, "abc13"),
    "m01d-case-port": (22011, "abc14"),
    "m02-case-user": (22010, "abc15"),
    "m03-escaped-semicolon": (22010, 'ab;cd#ef"gh"'),
    "m05-arrow-equals": (22010, "a=b/+@=="),
    "m07-user-twice": (22010, "def"),
    "m08-general-twice": (22010, "abc23"),
    "m10-bindaddr-port": (22010, "abc26"),
    "m13-freepbx": (22010, "abc"),
    "m19-cp1252-secret": (22010, "caf\udce9"),
    "m24-block-comment": (22010, "abc49"),
    "m28-append": (22010, "abc def"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_a_login_is_what_the_running_asterisk_takes(name: str) -> None:
    options = settings.load(FIELD / name / "ami_kafka.conf", REGISTRY).source_options
    assert options.host == "127.0.0.1"
    assert (options.port, options.secret) == JUDGED[name]
    assert list(obstacles(files.load(FIELD / name / "manager.conf"), PATH)) == []


def test_every_case_from_the_field_is_judged() -> None:
    assert {each.name for each in FIELD.iterdir()} == {*JUDGED, "m14-missing-include"}


def test_a_file_that_asterisk_does_not_take_up_is_told_with_the_line() -> None:
    path = FIELD / "m14-missing-include" / "manager.conf"
    assert [str(each) for each in obstacles(files.load(path), path)] == [
        f'{path}:9: [amikafka]: #include "manager_nothere.conf": there is no such file:'
        " Asterisk does not take manager.conf up"
    ]


@pytest.mark.parametrize(
    ("bindaddr", "host"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0:5039", "127.0.0.1"),
        ("10.1.2.3:5039", "10.1.2.3"),
        ("10.1.2.3:", "10.1.2.3"),
        ("::", "::1"),
        ("[::]", "::1"),
        ("[::]:5039", "::1"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:5039", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("localhost", None),
        ("10.1.2", None),
        ("10.1.2.3.4", None),
        ("", None),
        (":5039", None),
    ],
)
def test_the_address_is_that_of_bindaddr_without_its_port(bindaddr: str, host: str | None) -> None:
    text = f"[general]\nenabled = yes\nport = 5040\nbindaddr = {bindaddr}\n"
    assert (user(text).host, user(text).port) == (host, 5040)
    no_address = (
        f'manager.conf:4: [general] bindaddr: "{bindaddr}" is no address: Asterisk listens on every one'
    )
    assert said(text) == ([] if host else [f"{no_address} instead"])


def test_an_address_that_is_none_leaves_the_one_before() -> None:
    assert user("[general]\nbindaddr = 10.1.2.3\nbindaddr = nowhere\n").host == "10.1.2.3"


@pytest.mark.parametrize(
    ("value", "port"),
    [
        ("5038", 5038),
        ("1024", 1024),
        ("65535", 65535),
        ("+5038", 5038),
        ("0x13AE", 5038),
        ("0X13ae", 5038),
        ("011656", 5038),
        ("1023", None),
        ("65536", None),
        ("0", None),
        ("05038", None),
        ("-5038", None),
        ("5_038", None),
        ("5038 x", None),
        ("\u0665\u0660\u0663\u0668", None),
        ("", None),
    ],
)
def test_a_port_is_one_that_asterisk_takes(value: str, port: int | None) -> None:
    text = f"[general]\nenabled = yes\nport = {value}\n"
    assert user(text).port == port
    refused = (
        f'manager.conf:3: [general] port: "{value}" is no port from 1024 to 65535: Asterisk does not use it'
    )
    assert said(text) == ([] if port else [refused])


@pytest.mark.parametrize("word", ["yes", "TRUE", "Y", "t", "1", "On"])
def test_a_manager_that_is_switched_on_is_no_obstacle(word: str) -> None:
    assert said(f"[General]\nEnabled = {word}\n") == []


@pytest.mark.parametrize("word", ["no", "maybe", "", "off"])
def test_a_manager_that_is_switched_off_is_told_with_the_way_out(word: str) -> None:
    assert said(f"[general]\nenabled = yes\nENABLED = {word}\n[general]\nenabled = yes\n") == [
        f'manager.conf:3: [general] ENABLED: "{word}" is not yes: nobody can log in.'
        " Set enabled = yes in the first [general], then: asterisk -rx 'manager reload'"
    ]


@pytest.mark.parametrize("text", ["[amikafka]\nsecret = x\n", "[general](!)\nenabled = yes\n[a](general)\n"])
def test_a_manager_that_nobody_switched_on_is_told(text: str) -> None:
    (told,) = said(text)
    assert told.startswith("manager.conf: [general]: enabled is not set: nobody can log in.")


def test_what_is_not_there_or_closed_to_us_is_no_obstacle(tmp_path: Path) -> None:
    assert list(obstacles(files.load(tmp_path / "manager.conf"), PATH)) == []
    assert list(obstacles(files.load(tmp_path), PATH)) == []


def test_an_error_in_an_included_file_costs_its_rest(tmp_path: Path) -> None:
    (tmp_path / "manager.conf").write_text(f"{WORKING}#include other.conf\n")
    (tmp_path / "other.conf").write_text("[amikafka](gone)\nsecret = x\n")
    document = files.load(tmp_path / "manager.conf")
    assert [each.message for each in obstacles(document, PATH)] == [
        "there is no section [gone] to inherit from: Asterisk reads no further in this file"
    ]
    assert find_user(document, "amikafka").secret is None


def test_a_pattern_without_a_file_is_an_obstacle() -> None:
    assert said(f'{WORKING}#include "d/*.conf"\nno equals\n') == [
        'manager.conf:3: [general]: #include "d/*.conf": there is no such file: Asterisk does not take'
        " manager.conf up"
    ]


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("", True),
        ("[general]\nallowmultiplelogin = no\n", False),
        ("[general]\nallowmultiplelogin = maybe\n", False),
        ("[general]\nallowmultiplelogin = no\n[amikafka]\nAllowMultipleLogin = yes\n", True),
        ("[amikafka]\nallowmultiplelogin = no\n[general]\nallowmultiplelogin = yes\n", False),
        ("[amikafka]\nallowmultiplelogin = no\n[amikafka]\nallowmultiplelogin = yes\n", True),
        ("[general]\nallowmultiplelogin = yes\n[general]\nallowmultiplelogin = no\n", True),
        ("[other]\nallowmultiplelogin = no\n", True),
    ],
)
def test_several_logins_are_as_the_user_has_it_else_as_the_first_general_section(
    text: str, several: bool
) -> None:
    assert user(text).several_logins == several


def test_all_sections_of_a_user_add_up() -> None:
    found = user("[amikafka]\nsecret = a\nEventFilter = X\n[AMIkafka]\nsecret = b\n[amikafka]\nread = all\n")
    assert (found.secret, found.has_includes) == ("b", True)
    assert user("[amikafka]\nsecret =\n").secret is None
    assert user("[amikafka]\neventfilter = !X\n[other]\neventfilter = X\n").has_includes is False


def test_general_is_no_user() -> None:
    assert user("[general]\nsecret = x\n", "General").secret is None


def test_no_secret_is_shown() -> None:
    assert "hush" not in repr(user("[amikafka]\nsecret = hush\n"))


def test_the_user_of_the_package_is_looked_for() -> None:
    assert manager_conf.USER == "amikafka"


# An independent, small model of what Asterisk takes.


def swap_case(text: str, chance: random.Random) -> str:
    return "".join(chance.choice((char.lower(), char.upper())) for char in text)


@pytest.mark.parametrize("seed", range(60))
def test_case_order_and_repetition_are_as_in_a_small_model(seed: int) -> None:
    """The first [general] counts, of users the last value; names in any case, sections in any order."""
    chance = random.Random(seed)
    general: dict[str, str] | None = None
    users: dict[str, dict[str, str]] = {}
    text = ""
    for _ in range(chance.randrange(1, 8)):
        section = chance.choice(["general", "general", "amikafka", "amikafka", "other"])
        lines = [
            (chance.choice(["port", "bindaddr", "secret", "displayconnects"]), number)
            for number in range(chance.randrange(4))
        ]
        said = {}
        text += f"[{swap_case(section, chance)}]\n"
        for name, number in lines:
            value = {"port": str(5000 + number), "bindaddr": f"10.0.{seed}.{number}"}.get(
                name, f"s{number}{seed}"
            )
            text += f"{swap_case(name, chance)} {chance.choice(['=', '=>'])} {value}\n"
            said[name] = value
        if section == "general":
            general = said if general is None else general
        else:
            users.setdefault(section, {}).update(said)
    found = user(text, swap_case("amikafka", chance))
    expected = general or {}
    assert found.port == (int(expected["port"]) if "port" in expected else None)
    assert found.host == expected.get("bindaddr")
    assert found.secret == users.get("amikafka", {}).get("secret")
