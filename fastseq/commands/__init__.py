"""The subcommands of ``fastseq``, a file each: ``add(commands)`` describes one to argparse.

What takes long to import they import when they run, so that ``--help`` stays quick.
"""
