"""A simulated OpenNebula in one process, for tests and for trying the engine out.

It serves oned's XML-RPC and oneflow's REST API on 127.0.0.1 in the dialect of the requested
release, and responds as real installations did when they were recorded;
``tests/sandbox/test_replay.py`` checks that. The modules, in the order in which to read them:

================ ===================================================================================
oned.py          the XML-RPC methods by name; calls.py: what they share; oned_objects.py: documents
                 and VM templates; oned_vms.py: VMs
oneflow.py       the REST API: service templates and services
store.py         everything an OpenNebula holds; objects.py: its objects; pools.py: lists of them
states.py        the states of VMs as tables; lifecycle.py: moves VMs along them
services.py      the life of a service: how its state follows its VMs, recovery, undeployment;
                 role_vms.py: creates and ends the VMs of its roles; service_body.py: its document
scheduler.py     which host a VM gets; expressions.py: requirements and ranks
machines.py      creates a VM from a VM template and the caller's attributes
template.py      the template syntax, with the messages of oned's parser; names.py: document names
releases.py      every difference between 6.x and 7.x
quotas.py        limits and usage
clock.py         the clock and the agenda of scheduled steps; timings.py: how long each step takes
seeds.py         the users and templates of a new sandbox; population.py: large numbers of them
errors.py        error codes and messages; pages.py: error pages of oneflow's web framework
render.py        VMs and users as XML; xml.py: XML elements; rpc.py: XML-RPC
world.py         all of this together; sandbox.py: the same with servers in front of it
server.py        sockets; faults.py: injected faults; latency.py: delays
inspection.py    what tests inspect and set up (``Sandbox.store``)
command.py       the command line
================ ===================================================================================

What a test can change, for a sandbox called ``sandbox``:

``sandbox.timings = replace(sandbox.timings, boot_seconds=6)``
    How long prolog, boot, resize, disk resize, save, shutdown and epilog take, and how late the
    scheduler, oneflow and scheduled actions are. See ``Timings``.
``sandbox.faults.drivers.set("boot", fails=True)``, ``.set("resize", slow_seconds=5)``
    Makes a VM driver fail or slow; ``.reset("boot")`` and ``.clear()`` undo that.
``sandbox.faults.set("oned", "hang", method="one.vm.info")``
    Makes a backend refuse connections, hang, send garbage and so on. See ``faults.py``.
``sandbox.store.put_vm(12, "UNKNOWN")``
    Puts a VM into a state that an accident would cause: UNKNOWN, BOOT_FAILURE, POWEROFF, DONE.
    With ``stays=True`` also into a transient state like PROLOG or EPILOG, which it never leaves.
``sandbox.store.living_vms()``, ``.orphaned_vms()``, ``.count()``
    The VMs that are not DONE, those of them whose service is gone, and the numbers of objects.
``sandbox.calls``
    Every call so far as a `CallRecord`, with the sizes of its request and response.
``sandbox.on_call``
    A function called with "before" and "after" around each call; it may block the call there.

The sandbox imports nothing from the engine, and the engine imports nothing from the sandbox.
"""

from provision_engine.sandbox.clock import Clock, ManualClock
from provision_engine.sandbox.sandbox import CallRecord, Sandbox
from provision_engine.sandbox.timings import Timings

__all__ = ["CallRecord", "Clock", "ManualClock", "Sandbox", "Timings"]
