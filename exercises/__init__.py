"""The tasks of the course and their checks: `from exercises import check, checked, check_bug, symptom, use`."""

from exercises.checking import check, check_bug, checked, symptom, use

__all__ = ["check", "check_bug", "checked", "symptom", "use"]
