"""Here so that another package of this name, as some libraries install, does not take its place."""
