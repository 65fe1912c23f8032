"""Tests that prove nothing."""

import asyncio
import os
import sys
import time
from asyncio import sleep as nap
from unittest import mock

import pytest


def test_nothing():  # BAD
    print("fine")


async def test_waits_by_the_watch():
    time.sleep(1)  # BAD
    await asyncio.sleep(0.1)  # BAD
    await nap(1)  # BAD
    await asyncio.sleep(0)
    assert True


@pytest.mark.skip(reason="later")  # BAD
def test_later():
    pytest.skip("not here")  # BAD
    assert True


@pytest.mark.xfail  # BAD
def test_broken():
    assert False


class TestPurse:
    def test_in_a_class(self):  # BAD
        mock.Mock().called()

    def test_raises(self):
        with pytest.raises(ValueError):
            int("x")


def test_by_a_named_claim(book):
    expect_balanced(book)


def expect_balanced(book):
    assert sum(book) == 0


@pytest.mark.skipif("PG" not in os.environ, reason="no server")  # BAD
def test_only_where_a_server_happens_to_be():
    assert True


@pytest.mark.skipif(sys.platform != "linux", reason="a signal of Linux")
def test_what_only_linux_has():
    assert True


@pytest.mark.skipif(True, reason="slow")  # BAD
def test_never():
    assert True


async def wait_a_little(delay):
    time.sleep(0)  # BAD
    await asyncio.sleep(delay)  # BAD
