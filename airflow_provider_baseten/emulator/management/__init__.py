"""Management API of the emulator: one module for each kind of resource, and a route table."""
