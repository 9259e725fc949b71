"""The suite itself: a missing tool, the last line of a run, the units that two workers share out, and its servers."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

from tests.support import ROOT, left_out, tools, workers


@pytest.mark.parametrize(
    ("in_ci", "ci", "outcome"), [(True, "true", "Failed"), (True, "", "Skipped"), (False, "true", "Skipped")]
)
def test_a_test_without_its_tool_is_skipped_and_fails_in_ci_if_ci_can_get_the_tool(
    monkeypatch: pytest.MonkeyPatch, in_ci: bool, ci: str, outcome: str
) -> None:
    monkeypatch.setitem(tools.TOOLS, f"a spanner {in_ci}", tools.Tool(lambda: False, "buy one", in_ci=in_ci))
    monkeypatch.setenv("CI", ci)

    with pytest.raises(BaseException, match=r"a spanner .*buy one") as raised:
        tools.require(f"a spanner {in_ci}")

    assert type(raised.value).__name__ == outcome


def test_the_last_line_names_what_was_left_out_and_how_to_run_it() -> None:
    line = left_out.told(61.4, {"long": 3, "drill": 56}, {"needs a Chromium (install one)": 2})

    assert line == (
        "took 61 s; left out: 56 drills (`make drills`); 3 long tests (`make drills`); "
        "2 skipped: needs a Chromium (install one)"
    )


def test_a_module_goes_to_one_worker_and_so_does_a_room_with_a_shared_ray() -> None:
    assert workers.unit_of("tests/unit/test_suite.py::a[b]") == "tests/unit/test_suite.py"
    assert workers.unit_of("tests/integration/ray/test_codecs.py::a") == "tests/integration/ray/"
    assert workers.place_of("tests/integration/ray/x.py::a") < workers.place_of("tests/unit/x.py::a")
    assert workers.place_of("tests/unit/x.py::a") < workers.place_of("detector/audio.py::detector.audio")


def test_a_server_goes_with_the_process_that_started_it_even_if_that_is_killed() -> None:
    starts = (
        "from tests.support.processes import start_tied; print(start_tied(['sleep', '60']).pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starts], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    server = os.pidfd_open(int(parent.stdout.readline()))
    assert not select.select([server], [], [], 0.1)[0]

    parent.kill()

    assert select.select([server], [], [], 10.0)[0], "it is still there"
    parent.communicate()
    os.close(server)
