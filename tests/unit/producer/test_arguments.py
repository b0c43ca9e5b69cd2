"""What the producer's command line means, and that everything wrong with it is said at once."""

import pytest

from producer import arguments, workload


@pytest.fixture
def parse(tmp_path):
    config_path = tmp_path / "config.toml"
    config_path.touch()
    return lambda *argv: arguments.parse(["--config", str(config_path), *argv])


def problems_of(parse, *argv):
    with pytest.raises(arguments.ArgumentsError) as error:
        parse(*argv)
    return error.value.problems


def test_without_arguments_it_is_the_reference_load_as_fast_as_it_goes(parse):
    asked = parse()
    assert (asked.plays, asked.videos, asked.quiet_videos) == (100_000, 100, 15)
    assert (asked.distribution, asked.plays_per_second, asked.manifest) == ("zipf", None, None)
    assert asked.settings.nsq.topic == "plays"


def test_a_seed_that_is_not_given_is_drawn_anew_each_time(parse):
    drawn = {parse().seed for _ in range(5)}
    assert len(drawn) > 1
    assert all(0 <= seed <= workload.SEED_MAX for seed in drawn)
    assert parse().seed_was_drawn
    assert (parse("--seed", "0").seed, parse("--seed", "0").seed_was_drawn) == (0, False)


@pytest.mark.parametrize(
    ("argv", "plays_per_second"),
    [
        (["--seconds", "0"], None),
        (["--seconds", "4"], 25_000),
        (["--seconds", "0.5"], 200_000),
        (["--rate", "2.5"], 2.5),
        (["--seconds", "1e-308"], None),
    ],
)
def test_the_pace_comes_from_seconds_or_rate(parse, argv, plays_per_second):
    assert parse(*argv).plays_per_second == plays_per_second


@pytest.mark.parametrize(("argv", "quiet_videos"), [((), 15), (("--videos", "20"), 3), (("--plays", "4"), 4)])
def test_fewer_quiet_videos_by_default_where_the_load_is_small(parse, argv, quiet_videos):
    assert parse(*argv).quiet_videos == quiet_videos


def test_settings_go_over_the_file(parse):
    asked = parse("--set", "nsq.topic=other", "--set", "nsq.nsqd_tcp_addresses=127.0.0.1:1234")
    assert asked.settings.nsq.topic == "other"
    assert asked.settings.nsq.nsqd_tcp_addresses == ["127.0.0.1:1234"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--plays", "0"], "--plays '0', expected a whole number, 1 to"),
        (["--plays", "1.5"], "--plays '1.5'"),
        (["--videos", "-3"], "--videos '-3'"),
        (["--quiet-videos", "-1"], "--quiet-videos '-1'"),
        (["--quiet-videos", "101"], "at most all 100 videos can be quiet"),
        (["--plays", "9901", "--quiet-videos", "100"], "at most 9900 plays"),
        (["--seconds", "-1"], "--seconds '-1', expected a number, 0 or more"),
        (["--seconds", "nan"], "--seconds 'nan'"),
        (["--rate", "0"], "--rate '0', expected a number, more than 0"),
        (["--rate", "inf"], "--rate 'inf'"),
        (["--rate", "5", "--seconds", "5"], "exclude each other"),
        (["--seed", "-1"], "--seed '-1'"),
        (["--distribution", "pareto"], "expected one of zipf, uniform, viral"),
        (["--play", "10"], "unknown argument '--play'"),
        (["--manifest"], "--manifest: expected one argument"),
        (["--set", "nsq.topic"], "--set 'nsq.topic'"),
        (["--set", "nsq.topic=a b"], "nsq.topic = 'a b'"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_was_expected(parse, argv, told):
    assert any(told in problem for problem in problems_of(parse, *argv))


def test_every_problem_is_listed_at_once(parse, tmp_path):
    problems = problems_of(
        parse,
        "--plays",
        "x",
        "--videos",
        "y",
        "--seed",
        "z",
        "--rate",
        "r",
        "--seconds",
        "s",
        "--distribution",
        "d",
        "--set",
        "no.thing=1",
        "--what",
        "--manifest",
        str(tmp_path),
    )
    for part in (
        "--plays",
        "--videos",
        "--seed",
        "--rate",
        "--seconds",
        "--distribution",
        "'no'",
        "--what",
        "is a folder",
    ):
        assert any(part in problem for problem in problems), part


def test_a_manifest_that_cannot_be_written_is_refused_before_the_run(parse, tmp_path):
    missing = str(tmp_path / "missing" / "manifest.json")
    (problem,) = problems_of(parse, "--manifest", missing)
    assert missing in problem and "make the folder first" in problem
    file = tmp_path / "file"
    file.touch()
    assert problems_of(parse, "--manifest", str(file / "manifest.json"))
    assert problems_of(parse, "--manifest", str(tmp_path / ("long" * 100)))


def test_a_manifest_that_can_be_written_leaves_no_trace_of_having_been_tried(parse, tmp_path):
    assert parse("--manifest", str(tmp_path / "manifest.json")).manifest is not None
    assert [found.name for found in tmp_path.iterdir()] == ["config.toml"]


def test_help_goes_to_stdout_and_ends_with_0(parse, capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in ("--plays", "--quiet-videos", "--seconds", "--rate", "--seed", "--manifest"):
        assert option in told
