"""What an operator has to mend: shown as one line, never as a trace."""


class OperatorError(Exception):
    """The program cannot do what it was asked; the text is one line that says why."""
