"""Scripts that run inside a copy of the project to which a test has added something."""
