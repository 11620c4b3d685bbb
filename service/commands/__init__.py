"""What `sitbone` does beside serving."""

from importlib.util import find_spec

from cds_hooks.command_line import give_up

__all__ = ["give_up", "require"]


def require(package: str, extra: str, what_for: str = "") -> None:
    """End the command where a package is not installed, and say which extra brings it; `what_for` goes before that."""
    if find_spec(package) is None:
        give_up(f"{what_for}{package} is not installed: pip install 'sitbone[{extra}]'.")
