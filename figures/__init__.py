"""Every figure of the course, in one style."""

from dataset.installed import what_is_missing

if missing := what_is_missing():  # the notebooks begin with a figure
    raise ImportError(missing)
