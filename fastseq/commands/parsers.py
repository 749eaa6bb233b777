"""The parser of a command: what need not be given may stand behind options, too."""

import argparse

PLAIN = "\0"  # no argument of a process can hold it


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
        # what parses options first comes back to this method
        if self._holds_commands or self._parses_options_first:
            return super().parse_known_args(args, namespace)
        self._parses_options_first = True
        try:
            namespace, unknown = self.parse_known_intermixed_args(_mark_plain(args), namespace)
        finally:
            self._parses_options_first = False
        unknown = [text.removeprefix(PLAIN) for text in unknown if text != "--"]
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, []

    def _get_value(self, action, text):
        return super()._get_value(action, text.removeprefix(PLAIN))


def _mark_plain(args):
    """Let what stands behind a "--" look like no option: the "--" itself may get lost."""
    place = args.index("--") if "--" in args else len(args)
    return [*args[: place + 1], *(PLAIN + text for text in args[place + 1 :])]
