"""A Ray session: this process joins the cluster that `RAY_ADDRESS` names, or starts Ray on this machine."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import uuid
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

from detector.errors import ConfigError
from jobs.errors import RunAgain
from jobs.execution import reaper
from jobs.execution.growth import Bundle, Look
from jobs.execution.peer import Peer
from jobs.execution.preflight import refuse_open_dashboard
from jobs.execution.ray_demand import RayDemand, is_without_autoscaler, monitor_report
from jobs.execution.ray_registry import RayRegistry
from jobs.execution.stop_request import StopRequest
from jobs.execution.ticks import with_ticks
from jobs.execution.worker_lifeline import WorkerLifeline
from jobs.telemetry import metrics

START_SECONDS = 15.0  # a cluster's head may take so long to accept a connection when a run begins
HEAD_SECONDS = 60.0  # and may be away for so long in its middle: a head that comes back still knows its work
LOOK_SECONDS = 1.0  # between two looks at a cluster that is to grow
OOM_RETRIES = 2

log = logging.getLogger(__name__)


class RaySession:
    """Ray as this process uses it; joined at the first use, so that a run with nothing to do never starts Ray.

    Parameters
    ----------
    object_store_mib : int
        Size of the object store, if Ray is started on this machine.
    """

    def __init__(self, object_store_mib: int) -> None:
        self._object_store_mib = object_store_mib
        self._head: Peer | None = None
        self._lifeline: WorkerLifeline | None = None
        self._mark = uuid.uuid4().hex
        self._registry: RayRegistry | None = None
        self._init_thread: Iterator[None] | None = None
        self._has_ended = threading.Event()
        self._while_joined = ExitStack()

    @property
    def registry(self) -> RayRegistry:
        """The registry of this run's workers."""
        if self._registry is None:
            self._registry = self._join()
        return self._registry

    @property
    def lifeline(self) -> WorkerLifeline | None:
        """What the workers of a Ray that we started end with; None in a cluster, whose workers are not ours to end."""
        self.join()
        return self._lifeline

    def looks(self, bundles: list[Bundle]) -> Generator[Look, None, None]:
        """Yield the cluster as it is; after the first time, as it is while its autoscaler is asked for ``bundles``.

        Raises
        ------
        RunAgain
            If SIGTERM came, or the head is gone.
        """
        self.join()
        yield Look(0.0, *self.resources(), is_final=self._head is None or is_without_autoscaler(monitor_report()))
        began = time.monotonic()
        with StopRequest() as stop, RayDemand(bundles) as demand:
            while True:
                stop.raise_when_due(is_drained=True)
                self.check_head()
                if self._head is None or self._head.answers():  # else a question to it may never be answered
                    is_final = demand.is_hopeless() or is_without_autoscaler(monitor_report())
                    yield Look(time.monotonic() - began, *self.resources(), is_final=is_final)
                time.sleep(LOOK_SECONDS)

    def resources(self) -> tuple[float, float]:
        """Return the CPUs and GPUs of the cluster."""
        self.join()
        import ray

        resources = ray.cluster_resources()
        return resources.get("CPU", 0.0), resources.get("GPU", 0.0)

    def join(self) -> None:
        """Join the cluster, or start Ray, unless that is done.

        Raises
        ------
        ConfigError
            If the cluster's dashboard is open to everybody.
        RunAgain
            If the cluster cannot be joined, or Ray does not start.
        """
        _ = self.registry

    def end(self, *, is_clean: bool) -> None:
        """Leave the cluster.

        After an error Ray is left to the reaper, which ends it after this process: shut down in the middle of work, it
        may hang, or end this process with an exit code of its own.
        """
        if self._registry is not None and is_clean:
            import ray

            self._while_joined.close()
            ray.shutdown()
            if self._lifeline is not None:
                self._lifeline.close()
        self._has_ended.set()

    def check_processes(self) -> None:
        """Raise if a process of a Ray that we started has died; seconds later Ray would end us, with its own exit code.

        Raises
        ------
        RunAgain
        """
        import ray

        node = ray._private.worker._global_node
        dead: list[str] = [] if node is None else [name for name, _ in node.dead_processes()]
        if dead:
            raise RunAgain(f"Ray on this machine lost its {', '.join(dead)}; run the same command again")

    def check_head(self) -> None:
        """Raise if the head of a cluster that we joined has accepted no connection for :data:`HEAD_SECONDS`.

        Raises
        ------
        RunAgain
        """
        if self._head is not None and self._head.is_gone():
            raise RunAgain(
                f"the head of the Ray cluster, {self._head.address}, takes no connection for {HEAD_SECONDS:.0f} s; "
                f"run the same command again"
            )

    def _join(self) -> RayRegistry:
        address = os.environ.get("RAY_ADDRESS")
        if address and re.fullmatch(r"[^\s/]+:[0-9]+", address):
            wait_for_head(Peer(address, START_SECONDS))
        _set_environment(address)
        import ray
        import ray.data

        _silence_ray()
        log.info("%s", f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
        # ray.init would replace our handler of SIGTERM by its own; outside the main thread Python does not let it
        self._init_thread = with_ticks(self._initialized(address), lambda: None)
        try:
            next(self._init_thread)
        except (RunAgain, ConfigError):
            raise
        except Exception as error:  # Ray documents no class for it
            what = f"the Ray cluster at {address} cannot be joined" if address else "Ray did not start"
            raise RunAgain(f"{what}: {first_line(error)}. Check it, and run the same command again.") from error
        self._while_joined.enter_context(metrics.repeated_gauges())
        self._head = Peer(ray.get_runtime_context().gcs_address, HEAD_SECONDS) if address else None
        return RayRegistry.start()

    def _initialized(self, address: str | None) -> Iterator[None]:
        """Call `ray.init`, and keep this thread: the kernel ends Ray's processes with the thread that started them."""
        import ray

        options: dict[str, Any] = {"address": address}
        if not address:
            options = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": self._object_store_mib << 20,
                # a full object store stops the readers; audio is never written to a disk
                "_system_config": {"automatic_object_spilling_enabled": False},
            }
            self._lifeline = WorkerLifeline.open()
            reaper.start(self._mark, self._lifeline.reader)
        with reaper.marking(self._mark):
            joined = ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **options)
        refuse_open_dashboard(joined.dashboard_url)
        yield
        self._has_ended.wait()


def wait_for_head(head: Peer) -> None:
    """Wait until a cluster's head accepts a connection; Ray itself would notice only after two minutes.

    Raises
    ------
    RunAgain
        If it accepts none within its patience.
    """
    while not head.answers():
        if head.is_gone():
            raise RunAgain(
                f"the Ray cluster at {head.address} cannot be joined: nothing takes a connection there. Check "
                f"RAY_ADDRESS and that its head runs, and run the same command again."
            )
        time.sleep(1.0)


def first_line(error: BaseException) -> str:
    """Return the class and the first line of an error: Ray's errors go on with traces of all its processes."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _set_environment(address: str | None) -> None:
    """Set the variables that Ray reads when it is imported; those that the user has set stay."""
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # else a call after the end would start another cluster
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a GPU keeps CUDA_VISIBLE_DEVICES
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # the C++ side prints warnings that call for no action
        "RAY_task_oom_retries": str(OOM_RETRIES),  # Ray's default has no limit
    }
    if address:
        # else Ray ends this process with exit code 1 and no message, a minute after the cluster's head died
        variables["RAY_gcs_rpc_server_reconnect_timeout_s"] = "86400"
    else:
        # with it off, Ray binds its ports to loopback only
        variables["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    # Ray takes the process of this id, else a driver's parent, for its node's raylet, and ends a driver that outlives
    # it with exit code 1 and no message: one below `ray job submit`, which inherits an id, or a child of init
    os.environ["RAY_RAYLET_PID"] = str(os.getpid())


def _silence_ray() -> None:
    # Ray Data takes a streaming task's one input for its one output, and warns that the pool is too large
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors", UserWarning)
    # `ray_remote_args_fn` is the only way to limit Ray's retries; it gets another name in 2.64
    warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
    # Ray's own log stays in its session folder; ours is for people
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
