"""Every figure of the course, in one style."""
