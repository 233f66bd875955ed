"""An OpenNebula in one process, for tests and for learning what an OpenNebula does.

It speaks oned's XML-RPC and oneflow's REST on 127.0.0.1, in the dialect of the release asked for,
and answers as the recordings of real installations did; ``tests/sandbox/test_replay.py`` proves
it. For a newcomer, in the order in which to read:

================ ===================================================================================
oned.py          the XML-RPC methods: documents, VM templates, VMs, users
oneflow.py       the REST interface: service templates and services
store.py         what an OpenNebula keeps, who may do what with it, and locks
lifecycle.py     the states of VMs: tables of steps and actions
services.py      the states of services: how they deploy, run, fail, recover and go
scheduler.py     which host a VM gets; requirements and ranks
machines.py      how a VM is made of a VM template and the caller's attributes
template.py      the template syntax, with the messages of oned's parser
releases.py      everything in which 6.x and 7.x differ
quotas.py        limits and use
clock.py         time: the agenda of what is due when; timings.py: how long things take
seeds.py         users and templates there are at the beginning; population.py: many of them
errors.py        codes and sentences of refusals; pages.py: those of oneflow's web framework
render.py        VMs and users as XML; xml.py: its pieces; rpc.py: XML-RPC
world.py         all of this together; sandbox.py: with servers in front of it
server.py        sockets; faults.py: what may go wrong on purpose; latency.py: delays
inspection.py    what tests look at and set up (``Sandbox.store``)
command.py       the command line; control.py: changes while it runs; state.py: a file to keep
================ ===================================================================================

Nothing here imports the engine, and nothing of the engine imports this.
"""

from provision_engine.sandbox.clock import Clock, ManualClock
from provision_engine.sandbox.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.timings import Timings

__all__ = ["CallRecord", "Clock", "ManualClock", "Sandbox", "Timings"]
