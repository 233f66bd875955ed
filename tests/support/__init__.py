"""Test support: engines, requests, waiting, ports, and access to OpenNebula.

================ ============================================================================
``engine``       start an engine, in this process or as a separate process
``client``       the one HTTP client, and specifications of runtimes
``opennebula``   OpenNebula as a user sees it, sandbox or real, without the engine
``users``        whose credentials are used
``waiting``      wait for a condition
``proxy``        in front of OpenNebula, to lose calls and responses
``calls``        the calls in a request to OpenNebula, also those inside a multicall
``installation`` an OpenNebula to test on, sandbox or real, and a clock that can be moved
``ports``        a free TCP port
``programs``     other programs, without which a test is skipped
================ ============================================================================
"""
