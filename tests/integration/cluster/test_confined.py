"""The whole chain, confined as in a pod: an unprivileged user, no capabilities, a read-only root file system."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.manifests.documents import documents, of_kind, pods
from tests.support.manifests.image import DOCKERFILE, stages

# In a mount namespace of its own: nothing is visible outside, and all ends with the process. Python may be where only
# root can go, so its folder is mounted again inside an empty one that hides the path.
SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/code /mnt/venv /mnt/python
mount --bind {code} /mnt/code
mount --bind {venv} /mnt/venv
mount --bind {python} /mnt/python
if [ -n {hidden} ]; then
    mount -t tmpfs -o mode=755 tmpfs {hidden}
    mkdir -p {python}
    mount --bind /mnt/python {python}
fi
findmnt -rno TARGET | sort -r | while read -r place; do mount -o remount,bind,ro "$place" 2>/dev/null || true; done
for place in {writable}; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
cd /tmp
exec setpriv --reuid {uid} --regid {uid} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
    env -i {environment} bash -c {command}
"""
COMMAND = """
touch /var/tmp/x /mnt/code/x /etc/x && exit 99
grep -q '^CapEff:.0*$' /proc/self/status && python -m jobs demo --output /tmp/demo
"""


def hidden(path: Path) -> str:
    """The first folder on the way that others than root may not pass; empty where there is none."""
    return next((str(each) for each in [*path.parents][::-1] if not each.stat().st_mode & 0o001), "")


@pytest.mark.long
@pytest.mark.needs("root with mounts of its own")
def test_the_demo_runs_as_in_a_pod() -> None:
    (cluster,) = of_kind(documents(), "RayCluster")
    (head, *_) = pods(cluster)
    mounts = head.containers[0]["volumeMounts"]
    writable = [mount["mountPath"] for mount in mounts if not mount.get("readOnly")]
    said = " ".join(rest for word, rest in stages(DOCKERFILE.read_text())["cpu"] if word == "ENV").split()
    environment = [each for each in said if not each.startswith("PATH=")]
    python = Path(sys.base_prefix)
    script = SCRIPT.format(
        code=shlex.quote(str(ROOT)),
        venv=shlex.quote(sys.prefix),
        python=shlex.quote(str(python)),
        hidden=shlex.quote(hidden(python)),
        writable=" ".join(sorted(writable)),
        uid=head.spec["securityContext"]["runAsUser"],
        environment=shlex.join([*environment, "PATH=/mnt/venv/bin:/usr/bin:/bin", "PYTHONPATH=/mnt/code"]),
        command=shlex.quote(COMMAND),
    )

    done = subprocess.run(["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True, timeout=250)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("Read-only file system") == 3
    assert "odd/error-page.mp3              failed                not_audio" in done.stdout
    assert "report: /tmp/demo/report.html" in done.stdout
