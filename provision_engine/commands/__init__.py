"""Commands of the command line that are no servers."""
