"""The error pages of oneflow's web framework, in our own words.

Only the status, the content type and, in the JSON of 7.x, the text are those of the recordings: no
client reads the pages.
"""

from __future__ import annotations

NO_ACTION = (
    "undefined method `[]' for nil:NilClass\n\n"
    "    opts   = action['params']\n                   ^^^^^^^^^^"
)
_REASON_CHARACTERS = 100


def no_find(text: str) -> str:
    """Ruby's error on 7.x if `roles` is a string (scenario instantiate-errors)."""
    return (
        f'undefined method `find\' for "{text}":String\n\n'
        "                extra_role = extra_roles.find {|item| item['name'] == role['na"
    )


def not_found(method: str, path: str) -> str:
    """The page for a path without a route."""
    return (
        "<!DOCTYPE html>\n<html>\n<body>\n  <h2>This path is not known.</h2>\n"
        f"  <pre>{method.lower()} {slashes(path)}</pre>\n</body>\n</html>\n"
    )


def crash(kind: str, path: str, reason: str) -> str:
    """The developers' page that 6.x sends if its own code fails."""
    shown = reason.replace("&", "&amp;").replace("<", "&lt;")[:_REASON_CHARACTERS]
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        '  <meta http-equiv="Content-Type" content="text/html; charset=utf-8"/>\n'
        f"  <title>{kind} at {slashes(path)}</title>\n</head>\n"
        f"<body>\n  <h1>{kind}</h1>\n  <h2>{shown}</h2>\n</body>\n</html>\n"
    )


def slashes(path: str) -> str:
    """A path as the framework escapes it."""
    plain = path.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return plain.replace("/", "&#x2F;")
