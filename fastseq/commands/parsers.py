"""The parser of a command: what need not be given may stand behind options, too."""

import argparse


class CommandParser(argparse.ArgumentParser):
    """A parser for ``predict model --format text data``.

    argparse takes ``data``, which may be missing, for missing where the first option comes.  It has
    another way to parse, options first, which commands with others below them can't go.
    """

    _holds_commands = _parses_options_first = False

    def add_subparsers(self, **options):
        """Add commands below this one."""
        self._holds_commands = True
        return super().add_subparsers(**options)

    def parse_known_args(self, args, namespace=None):
        """Parse what the parser above hands down; errors show this command's usage."""
        # parse_intermixed_args may come back to this method, and may lose a "--"
        if self._holds_commands or self._parses_options_first or "--" in args:
            return super().parse_known_args(args, namespace)
        self._parses_options_first = True
        try:
            return self.parse_intermixed_args(args, namespace), []
        finally:
            self._parses_options_first = False
