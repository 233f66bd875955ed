"""Test support: engines, requests, waiting, ports, and access to OpenNebula.

=============== =============================================================================
``engine``      start an engine, in this process or as a separate process
``client``      requests to an engine, and specifications of runtimes
``opennebula``  OpenNebula as a user sees it, sandbox or real, without the engine
``users``       whose credentials are used
``waiting``     wait for a condition
``proxy``       in front of OpenNebula, to lose calls and responses
``installation`` an OpenNebula to test on, sandbox or real
``ports``       a free TCP port
=============== =============================================================================
"""
