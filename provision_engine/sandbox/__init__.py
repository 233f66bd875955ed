"""An OpenNebula in one process, for tests and for learning what an OpenNebula does.

It speaks oned's XML-RPC and oneflow's REST on 127.0.0.1, in the dialect of the release asked for,
and answers as the recordings of real installations did; ``tests/sandbox/test_replay.py`` proves
it. For a newcomer, in the order in which to read:

================ ===================================================================================
oned.py          the XML-RPC methods by name; calls.py: what they share; oned_objects.py: documents
                 and VM templates; oned_vms.py: VMs
oneflow.py       the REST interface: service templates and services
store.py         what an OpenNebula holds; objects.py: its objects; pools.py: lists of them
states.py        the states of VMs as tables; lifecycle.py: moves VMs along them
services.py      the states of services: how they deploy, run, fail, recover and go;
                 service_body.py: their documents
scheduler.py     which host a VM gets; expressions.py: requirements and ranks
machines.py      how a VM is made of a VM template and the caller's attributes
template.py      the template syntax, with the messages of oned's parser; names.py: of documents
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

What a test can turn, for a sandbox called ``sandbox``:

``sandbox.timings = replace(sandbox.timings, boot_seconds=6)``
    How long things take: prolog, boot, resize, disk resize, save, shutdown, epilog, and how late
    the scheduler, oneflow and scheduled actions are. See ``Timings``.
``sandbox.faults.drivers.set("boot", fails=True)``, ``.set("resize", slow_seconds=5)``
    VM drivers that fail or are slow; ``.reset("boot")`` and ``.clear()`` mend them.
``sandbox.faults.set("oned", "hang", method="one.vm.info")``
    A backend that refuses, hangs, answers garbage and so on. See ``faults.py``.
``sandbox.store.put_vm(12, "UNKNOWN")``
    Puts a VM where an accident would: UNKNOWN, BOOT_FAILURE, POWEROFF, DONE; with ``stays=True``
    also into a passing state like PROLOG or EPILOG, which then does not end.
``sandbox.store.living_vms()``, ``.orphaned_vms()``, ``.count()``
    What is alive: all VMs that are not DONE, those whose service is gone, and the numbers.
``sandbox.calls``
    Each call so far as a `CallRecord`, with the bytes of its request and of its response.
``sandbox.on_call``
    A function that is told "before" and "after" each call, and may stop it there.

Nothing here imports the engine, and nothing of the engine imports this.
"""

from provision_engine.sandbox.clock import Clock, ManualClock
from provision_engine.sandbox.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.timings import Timings

__all__ = ["CallRecord", "Clock", "ManualClock", "Sandbox", "Timings"]
