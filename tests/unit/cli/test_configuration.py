"""`config` shows every setting, and no secret."""

import json

import pytest

from actors.cli import commands

SETTINGS = [
    "publish.url=http://user:secret-1@client.example/plays?key=secret-6",
    "publish.totals_url=http://user:secret-2@client.example/totals?key=secret-7",
    "publish.proxy=http://user:secret-3@proxy.example",
    'nsq.lookupd_http_addresses=["http://user:secret-4@lookupd.example:4161/?token=secret-5"]',
    "client.enabled=false",
]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_settings_are_shown_without_what_may_be_secret(form, capsys):
    words = [word for one in SETTINGS for word in ("--set", one)]
    assert commands.main(["config", *form, *words]) == 0
    shown = capsys.readouterr().out
    assert "client.example/plays" in shown
    assert "lookupd.example:4161" in shown
    assert "secret-" not in shown
    if form:
        values = {one["key"]: one["value"] for one in json.loads(shown)}
        assert values["publish.proxy"] == "http://…@proxy.example"
        assert values["dispatch.batch_size_max"] == 20
