"""An OpenNebula in one process, for tests and for learning what an OpenNebula does.

It speaks oned's XML-RPC and oneflow's REST on 127.0.0.1, in the dialect of the release asked for,
and answers as the recordings of real installations did; ``tests/sandbox/test_replay.py`` proves
it. Where to look: ``oned.py`` and ``oneflow.py`` for the two services, ``store.py`` for what an
OpenNebula keeps, ``lifecycle.py`` and ``services.py`` for the states of VMs and services,
``template.py`` for the template syntax, ``releases.py`` for the differences of 6.x and 7.x.
"""

from provision_engine.sandbox.clock import Clock, ManualClock
from provision_engine.sandbox.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.timings import Timings

__all__ = ["CallRecord", "Clock", "ManualClock", "Sandbox", "Timings"]
