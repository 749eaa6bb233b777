"""The subcommands of ``fastseq``, a file each: ``add(commands)`` describes one to argparse.

What a command needs it imports when it runs, so that ``--help`` stays quick.
"""
