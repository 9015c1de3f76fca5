"""A resource with everything that the library has for one: what it promises is tested by these routes."""
