"""How long each part of a request may take. All of them end within `timeout` plus one second.

A request has one deadline, `timeout` seconds from its start, which no call to OpenNebula outlives.
Parts of it are kept for what has to be done in any case: of a create or a replacement that starts
a service the RESERVED_SHARE, for undoing it; of a create that may take a standby the other half.

When the deadline is over all the same, and OpenNebula hangs, what comes last has a moment more.
What follows one another fits into the second, with 0.1 seconds left for the kernel to wake up:

| request | last steps | seconds |
| --- | --- | --- |
| create | UNDO_LEAST + MARK_LEAST | 0.85 |
| create whose intent may be written | WITHDRAW_LEAST | 0.6 |
| recover | UNDO_LEAST + UNLOCK_LEAST | 0.7 |
| update | SHRINK_LEAST + UNLOCK_LEAST | 0.85 |
| delete | ORDER_LEAST, then the lock: both within UNLOCK | 0.8 |
"""

from __future__ import annotations

# ---- within the request's time --------------------------------------------------------------

RESERVED_SHARE, RESERVED_SECONDS = 0.25, 6.0
"""Kept for undoing what is started; oneflow takes 0.2 s for each call."""
STANDBY_SHARE = 0.5
"""For taking a standby, before a service is started instead of it."""
AGAIN_SHARE = 0.5
"""Of the whole time, for starting a service once more whose VMs are not the user's."""
WAIT_SHARE = 0.6
"""For waiting until another request has created the runtime of the same key."""
APPEARING_SECONDS = 2.0
"""For a service to appear whose start got no response."""
GONE_SECONDS = 2.0
"""For oneflow to remove a service whose VMs have ended; it does so in any case."""
ENDING_SECONDS = 3.0
"""For VMs to end that use up the quota of those to be started."""
AWAKE_SECONDS = 5.0
"""For a VM to leave SUSPENDED; it goes on to boot in any case."""
IN_PASSING_SECONDS = 5.0
"""For what dead engines left, in a request that is about something else."""
SEARCH_SECONDS, SEARCH_CALL_SECONDS = 2.0, 1.0
"""For finding out who publishes flow templates, and for each call of that."""

# ---- beyond the request's time, where that is over ------------------------------------------

UNDO_LEAST_SECONDS = 0.6
"""For ending the service of a create or a replacement that failed."""
MARK_LEAST_SECONDS = 0.25
"""For writing down that a later request has to remove a runtime."""
WITHDRAW_LEAST_SECONDS = 0.6
"""To find and remove a document whose write got no response."""
SHRINK_LEAST_SECONDS = 0.75
"""For giving VMs their old capacity back."""
ORDER_LEAST_SECONDS = 0.3
"""For having OpenNebula end VMs by itself."""
UNLOCK_SECONDS, UNLOCK_LEAST_SECONDS = 0.8, 0.1
"""For giving a lock back: its latest end after the deadline, and the least that it is given."""
