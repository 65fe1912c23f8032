"""The site file: an installer's mistakes are named by key, all at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from workers.gateway.command import add_words
from workers.gateway.site import BusPlan, SerialServer, SiteError, check_site, load_site
from workers.links.serial_port import Parity, SerialPort

GOOD = """
period_minutes = 15
[[buses]]
number = 1
tcp = "192.168.1.50:502"
[[buses]]
number = 16
tcp = "serial-server.local:4001"
modbus_tcp = true
answer_ms = 2500
[[meters]]
serial = "230000000001"
model = "DDSY1352-NK"
bus = 1
address = "1"
[[meters]]
serial = "B-2"
model = "DDSY1352-NK"
bus = 16
address = "247"
"""


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_right_file_is_read_whole(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    assert check_site(path) == []
    site = load_site(path)
    assert site.period == timedelta(minutes=15)
    assert site.buses[1] == BusPlan(1, SerialServer("192.168.1.50", 502, modbus_tcp=False), 1.0)
    server = SerialServer("serial-server.local", 4001, modbus_tcp=True)
    assert site.buses[16] == BusPlan(16, server, 2.5)
    meter = site.meters["B-2"]
    assert (meter.bus, meter.address, meter.profile.model) == (16, "247", "DDSY1352-NK")


def test_half_an_hour_is_the_period_unless_said_otherwise(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD.replace("period_minutes = 15", ""))
    assert load_site(path).period == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("period_minutes = 15", "period_minutes = 0", "period_minutes: 1 to 1440"),
        ("period_minutes = 15", 'period_minutes = "15"', "period_minutes: a whole number"),
        ("period_minutes = 15", "perod_minutes = 15", "perod_minutes: no such key"),
        ("number = 16", "number = 17", "buses[1].number: 1 to 16"),
        ("number = 16", "number = 1", "buses[1].number: 1 is there twice"),
        ("number = 16", "number = true", "buses[1].number: a whole number"),
        (":502", "", "buses[0].tcp: "),
        (":502", ":70000", "buses[0].tcp: "),
        ('tcp = "192.168.1.50:502"', "", "buses[0]: tcp = "),
        ("answer_ms = 2500", "answer_ms = 5", "buses[1].answer_ms: 50 to 30000"),
        ('"B-2"', '"B 2"', "meters[1].serial: 1 to 32"),
        ('"B-2"', '"230000000001"', "meters[1].serial: 230000000001 is there twice"),
        ("bus = 16", "bus = 2", "meters[1].bus: no bus has the number 2"),
        ('bus = 16\naddress = "247"', 'bus = 1\naddress = "1"', "meters[1].address: 1 is there"),
        ('"247"', '"248"', "meters[1].address: a number from 1 to 247"),
        ('"247"', '"0"', "meters[1].address: a number from 1 to 247"),
        ('address = "247"', "address = 247", "meters[1].address: a text in quotes"),
        ('address = "247"', "", "meters[1].address: is missing"),
        ('"DDSY1352-NK"\nbus = 16', '"NOBODY"\nbus = 16', "meters[1].model: no profile for NOBODY"),
    ],
)
def test_every_mistake_is_named_by_its_key(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in GOOD
    path = _file(tmp_path, GOOD.replace(old, new, 1))
    faults = check_site(path)
    assert any(line.startswith(fault) for line in faults), faults
    with pytest.raises(SiteError):
        load_site(path)


SERIAL = """
[[buses]]
number = 2
device = "/dev/ttyUSB0"
[[meters]]
serial = "E-1"
model = "GENERIC-645-2007"
bus = 2
address = "000000000645"
"""
MODBUS_TOO = """
[[meters]]
serial = "M-1"
model = "DDSY1352-NK"
bus = 2
address = "1"
"""


@pytest.mark.parametrize(
    ("model", "address", "baud", "parity"),
    [
        ("DDSY1352-NK", "1", 9600, "none"),
        ("GENERIC-645-2007", "000000000645", 2400, "even"),
        ("GENERIC-645-1997", "000000000645", 1200, "even"),
        ("JICHENG-188-VALVE", "00000000000188", 2400, "even"),
    ],
)
def test_a_serial_port_is_set_as_its_meters_usually_are(
    tmp_path: Path, model: str, address: str, baud: int, parity: Parity
) -> None:
    text = SERIAL.replace("GENERIC-645-2007", model).replace("000000000645", address)
    site = load_site(_file(tmp_path, text))
    assert site.buses[2] == BusPlan(2, SerialPort("/dev/ttyUSB0", baud, parity), 1.0)


def test_a_serial_port_is_set_as_the_file_says(tmp_path: Path) -> None:
    said = 'baud = 19200\nparity = "odd"\nstop_bits = 2\ndata_bits = 8\necho = true\n[[meters]]'
    site = load_site(_file(tmp_path, SERIAL.replace("[[meters]]", said)))
    port = SerialPort("/dev/ttyUSB0", 19200, "odd", stop_bits=2, echo=True)
    assert site.buses[2].by == port


def test_meters_that_are_usually_set_otherwise_want_it_said(tmp_path: Path) -> None:
    assert check_site(_file(tmp_path, SERIAL + MODBUS_TOO)) == [
        f"buses[0].{name}: is missing; dlt645-2007 and modbus-rtu are on this bus, all are to be set alike"
        for name in ("baud", "parity")
    ]
    said = SERIAL.replace("[[meters]]", 'baud = 9600\nparity = "even"\n[[meters]]')
    site = load_site(_file(tmp_path, said + MODBUS_TOO))
    assert site.buses[2].by == SerialPort("/dev/ttyUSB0", 9600, "even")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('device = "/mnt/ttyUSB0"', "buses[0].device: a serial port under /dev"),
        ('device = "/dev/../etc/passwd"', "buses[0].device: a serial port under /dev"),
        ('device = "COM3"', "buses[0].device: a serial port under /dev"),
        ("device = 1", "buses[0].device: a text in quotes"),
        ('device = "/dev/ttyS1"\nbaud = 9601', "buses[0].baud: one of 1200, 2400"),
        ('device = "/dev/ttyS1"\nparity = "E"', "buses[0].parity: one of none, even, odd"),
        ('device = "/dev/ttyS1"\ndata_bits = 7', "buses[0].data_bits: 8; Modbus RTU"),
        ('device = "/dev/ttyS1"\nstop_bits = 3', "buses[0].stop_bits: 1 or 2"),
        ('device = "/dev/ttyS1"\necho = "yes"', "buses[0].echo: true or false"),
        ('device = "/dev/ttyS1"\ntcp = "h:1"', "buses[0].tcp: belongs to a serial server"),
        ('device = "/dev/ttyS1"\nmodbus_tcp = true', "buses[0].modbus_tcp: belongs to a serial"),
        ('tcp = "h:1"\nbaud = 9600', "buses[0].baud: belongs to a serial port"),
        (
            'device = "/dev/ttyS1"\n[[buses]]\nnumber = 3\ndevice = "/dev/ttyS1"',
            "buses[1].device: /dev/ttyS1 is there twice",
        ),
    ],
)
def test_a_mistake_about_a_serial_port_is_named_by_its_key(
    tmp_path: Path, line: str, fault: str
) -> None:
    faults = check_site(_file(tmp_path, SERIAL.replace('device = "/dev/ttyUSB0"', line)))
    assert [told for told in faults if told.startswith(fault)], faults
    assert len(faults) == 1


def test_what_is_not_toml_or_has_nothing_in_it_is_said(tmp_path: Path) -> None:
    assert check_site(_file(tmp_path, "[[buses"))[0].startswith("(file): not TOML")
    (tmp_path / "site.toml").write_bytes(b"\xff\xfe")
    assert check_site(tmp_path / "site.toml")[0].startswith("(file): not TOML")
    assert check_site(_file(tmp_path, "")) == ["buses: is missing", "meters: is missing"]
    assert check_site(_file(tmp_path, "buses = []\nmeters = []")) == [
        "buses: at least one bus is wanted",
        "meters: at least one meter is wanted",
    ]
    assert check_site(_file(tmp_path, "buses = [1]\nmeters = [2]")) == [
        "buses[0]: a table is wanted",
        "meters[0]: a table is wanted",
    ]


def test_two_faults_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("bus = 16", "bus = 3").replace('"247"', '"999"')
    assert len(check_site(_file(tmp_path, text))) == 2


def test_the_check_word_prints_a_line_a_fault_and_says_so_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_words(parser)
    for text, code, line in ((GOOD, 0, ": ok"), (GOOD.replace("bus = 16", "bus = 9"), 1, "bus 9")):
        path = _file(tmp_path, text)
        options = parser.parse_args(["check", str(path)])
        assert options.run(options) == code
        assert line.split()[-1] in capsys.readouterr().out
    options = parser.parse_args(["check", str(tmp_path / "nowhere.toml")])
    assert options.run(options) == 1
    assert "cannot be read" in capsys.readouterr().out
