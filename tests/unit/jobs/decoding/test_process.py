"""A decoder process has no secrets and no rights, and ends with its parent."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.decoding import idle, process_handle
from jobs.decoding.sandbox.limits import LIFE_CPU_SECONDS
from jobs.errors import RunAgain
from tests.support.decoders import (
    FLAC,
    failure_of,
    faulty,
    in_decoder,
    in_process,
    is_running,
    process_id,
)


def test_a_decoder_that_does_not_start_says_why_and_is_no_verdict(faults: Path) -> None:
    (faults / "sitecustomize.py").write_text("import os, sys\nsys.stderr.write('libsndfile.so: lost\\n')\nos._exit(1)")

    with pytest.raises(RunAgain, match=r"does not start: .* exit code 1\. libsndfile\.so: lost"):
        in_decoder(FLAC)


def test_a_machine_with_too_little_memory_for_a_decoder_blames_no_recording() -> None:
    program = (
        "import io; from jobs.decoding.queue import DecodeQueue; "
        "DecodeQueue(1.0).put(io.BytesIO(b'?'), 'a').segments().send(None)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = ["bash", "-c", 'ulimit -v 1000000; exec "$@"', "-", sys.executable, "-c", program]

    result = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert "RunAgain: the process for decoding does not start" in result.stderr
    assert "a limit on address space of 1,024,000,000 B (ulimit -v) is below" in result.stderr


def test_a_decoder_has_no_credentials_and_has_resource_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    idle.end_all()
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "SOME_PASSWORD"):
        monkeypatch.setenv(name, "secret-of-the-archive")
    secret = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(secret, True)

    in_decoder(FLAC)

    process = Path(f"/proc/{process_id()}")
    variables = {line.split(b"=")[0].decode() for line in (process / "environ").read_bytes().split(b"\0") if line}
    assert b"secret-of-the-archive" not in (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert variables <= {
        *("PATH", "LANG", "PYTHONPATH", "OPENBLAS_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
        *process_handle.KEPT_VARIABLES,
    }
    limits = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()[1:]}
    assert (limits["Max open files"], limits["Max core file size"], limits["Max file size"]) == ("32", "0", "0")
    resident_and_all = [int(pages) * os.sysconf("SC_PAGESIZE") for pages in (process / "statm").read_text().split()[:2]]
    # beyond its imports: 1 GiB, and four segments of 1 s
    assert 0 < int(limits["Max address space"]) - (1 << 30) - 4 * 64_000 <= resident_and_all[0]
    assert int(limits["Max cpu time"]) == LIFE_CPU_SECONDS
    assert os.readlink(process / "cwd") == "/"
    assert os.getsid(process_id()) != os.getsid(0)  # ctrl-c does not reach it
    kinds = {os.readlink(each).split(":")[0] for each in (process / "fd").iterdir()}
    assert kinds == {"pipe", "/dev/null", f"/proc/{process_id()}/statm"}
    assert len(list((process / "fd").iterdir())) == 6
    os.close(secret)


REFUSED = "PermissionError: [Errno 1] Operation not permitted"
FORBIDDEN = {
    "write": REFUSED,
    "read": REFUSED,
    "remove": REFUSED,
    "connect": REFUSED,
    "execute": "the decoder's process died of SIGSYS",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_decoder_touches_nothing_but_its_pipes(faults: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("of the archive")  # its modules lie in a folder beside it

    error, message = failure_of(lambda: in_decoder(faulty(name)))

    assert error == "decoder_crash"
    assert message.startswith(FORBIDDEN[name])
    assert (tmp_path / "secret").exists()
    assert not (faults / "written").exists()
    assert in_decoder(FLAC) == in_process(io.BytesIO(FLAC))


def until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


@pytest.mark.parametrize("name", ["spin", "spin_in_c", "none"])
def test_a_decoder_ends_with_its_parent_whatever_it_is_doing(faults: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.flac").write_bytes(faulty(name) if name != "none" else FLAC)
    program = """if True:
        import io, sys, time
        from pathlib import Path
        from jobs.decoding.queue import DecodeQueue
        with DecodeQueue(1.0) as queue:
            recording = queue.put(io.BytesIO(Path(sys.argv[1]).read_bytes()), "a")
            print(queue.process_for(recording).pid, flush=True)
            list(recording.segments())
            time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a.flac")], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    time.sleep(0.5)
    assert is_running(pid)

    parent.kill()
    parent.wait()

    assert until(lambda: not is_running(pid), 2.0)


def test_a_decoder_process_loads_no_library_that_it_does_not_need() -> None:
    code = "import sys, jobs.decoding.process; print(*sorted({name.partition('.')[0] for name in sys.modules}))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"ray", "torch", "sklearn", "scipy", "pandas", "pyarrow", "fsspec", "transformers"} & set(loaded)
    assert {"numpy", "soundfile", "av", "soxr"} <= set(loaded)
