"""`provision-engine runtime …`: serverless runtimes from the command line, over the API."""
