"""What a mutant is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One plausible mistake in one place of the code."""

    name: str
    """Short, unique; what is typed on the command line."""
    breaks: str
    """The mistake in the field's words; must hold no `|`, it becomes a cell of a table."""
    file: str
    """Where it is made, from the root of the checkout."""
    find: str
    """Source text that occurs exactly once in the file."""
    replace: str
    """What stands there instead."""
    tests: tuple[str, ...]
    """Files (or `file::test`) of which at least one test must turn red."""

    def applied(self, source: str) -> str:
        """Return the file's text with the mistake in it.

        Raises:
            ValueError: where the text to be replaced does not occur exactly once.
        """
        if source.count(self.find) != 1:
            raise ValueError(f"mutant {self.name} no longer fits {self.file}")
        return source.replace(self.find, self.replace)
