"""A StatsD server: collectd of Debian's package, which writes what it counts to CSV files."""

import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.airflow_stack import Service

_CONFIG = """
Hostname "statsd"
FQDNLookup false
Interval 0.5
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
LoadPlugin csv
LoadPlugin statsd
<Plugin csv>
  DataDir "{folder}/csv"
  StoreRates false
</Plugin>
<Plugin statsd>
  Host "127.0.0.1"
  Port "{port}"
  TimerCount true
</Plugin>
"""


@dataclass
class StatsdServer:
    """What the server has received.

    :param port: UDP port of 127.0.0.1.
    :param folder: folder with the CSV files.
    """

    port: int
    folder: Path

    @property
    def config(self) -> dict[str, str]:
        """Settings of an Airflow that sends its metrics here."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "true",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
        }

    def counters(self) -> dict[str, int]:
        """Return the counters of this package by name, without Airflow's prefix."""
        return {name: int(values[-1]) for name, values in self._values("derive").items()}

    def gauges(self) -> dict[str, list[float]]:
        """Return the values that each gauge of this package has had."""
        return self._values("gauge")

    def timings(self) -> dict[str, int]:
        """Return the number of times that each duration of this package was sent."""
        counts = self._values("gauge").items()
        return {name.removesuffix("-count"): int(sum(values)) for name, values in counts if name.endswith("-count")}

    def _values(self, kind: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = defaultdict(list)
        prefix = f"{kind}-airflow."
        for file in sorted(self.folder.glob(f"statsd/statsd/{prefix}baseten.*")):
            lines = file.read_text().splitlines()[1:]  # The file of a day has its date as the last part of its name.
            name = file.name.removeprefix(prefix)[: -len("-2026-01-01")]
            found[name] += [float(line.split(",")[1]) for line in lines if line.count(",") == 1]
        return {name: values for name, values in found.items() if values}


@contextmanager
def statsd_server(folder: Path) -> Iterator[StatsdServer]:
    """Run the server; skips, or fails in CI, where it is not installed."""
    program = shutil.which("collectd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        trouble = "needs the Debian package collectd-core"
        if os.environ.get("CI"):
            pytest.fail(trouble)
        pytest.skip(trouble)
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "collectd.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port))
    with Service("collectd", [program, "-C", str(config), "-f"], folder / "collectd.log") as service:
        service.wait_until(lambda: f":{port}." in service.log.read_text(), 30, "collectd to listen")
        yield StatsdServer(port, folder / "csv")
