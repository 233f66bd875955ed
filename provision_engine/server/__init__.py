"""gunicorn inside the program: the processes and threads that answer the API's requests."""

from provision_engine.server.serving import serve as serve
