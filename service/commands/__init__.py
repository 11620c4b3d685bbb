"""What `sitbone` does beside serving."""

from cds_hooks.command_line import give_up

__all__ = ["give_up"]
