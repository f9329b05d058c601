"""Management API of a workspace: its requests and responses as plain values, one module for each kind of resource."""
