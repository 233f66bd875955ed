"""What oneflow answers where its web framework answers for it, in words of our own.

Only the status, the type and, of the JSON of 7.x, the text are those of the recordings: nobody
reads the pages.
"""

from __future__ import annotations

NO_ACTION = (
    "undefined method `[]' for nil:NilClass\n\n"
    "    opts   = action['params']\n                   ^^^^^^^^^^"
)
_REASON_CHARACTERS = 100


def no_find(text: str) -> str:
    """7.x on roles that are a text: Ruby's words (scenario instantiate-errors)."""
    return (
        f'undefined method `find\' for "{text}":String\n\n'
        "                extra_role = extra_roles.find {|item| item['name'] == role['na"
    )


def not_found(method: str, path: str) -> str:
    """A path there is no route for."""
    return (
        "<!DOCTYPE html>\n<html>\n<body>\n  <h2>This path is not known.</h2>\n"
        f"  <pre>{method.lower()} {slashes(path)}</pre>\n</body>\n</html>\n"
    )


def crash(kind: str, path: str, reason: str) -> str:
    """6.x when its own code fails: a page for developers."""
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
