"""Ray exports metrics as the tests of the alerts take for granted: see tests/support/exports.py."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.support import ROOT
from tests.support.ports import free_ports

REPORTED = """
    import time, urllib.request
    import ray
    from prometheus_client.parser import text_string_to_metric_families
    from jobs.telemetry import metrics

    def exported():
        try:
            text = urllib.request.urlopen("http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        except OSError:
            return {}
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return {each.name.removeprefix("ray_"): each.value for each in samples if "bonafide" in each.name}

    def until(is_met):
        deadline = time.monotonic() + 60.0
        while not is_met(found := exported()):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)

    @ray.remote
    class Worker:
        def work(self):
            metrics.set_gauge("bonafide_shards_open", 3)  # no thread of a worker sets it again
            metrics.count("bonafide_store_retries_total", 5)

    metrics.REPEAT_SECONDS = 0.5
    metrics.set_gauge("bonafide_shards_left", 7, verb="embed")
    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=80 << 20,
             _metrics_export_port={port}, logging_level="ERROR", log_to_driver=False)
    with metrics.repeated_gauges():
        until(lambda found: found.get("bonafide_shards_left") == 7)
        assert set(exported()) == {"bonafide_shards_left"}
        worker = Worker.remote()
        ray.get(worker.work.remote())
        metrics.count("bonafide_alarms_total")
        until(lambda found: len(found) == 4)
        until(lambda found: "bonafide_shards_open" not in found)
        ray.kill(worker)
        time.sleep(5.0)
        assert exported() == {"bonafide_shards_left": 7, "bonafide_store_retries_total": 5, "bonafide_alarms_total": 1}
    until(lambda found: "bonafide_shards_left" not in found)
    ray.shutdown()
"""


@pytest.mark.long
def test_ray_exports_no_counter_before_its_first_increment_and_a_gauge_while_it_is_set_again() -> None:
    program = textwrap.dedent(REPORTED).replace("{port}", str(free_ports(1)[0]))
    environment = os.environ | {
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
