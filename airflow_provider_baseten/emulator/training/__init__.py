"""Training jobs of the emulator, each of which runs a process on this machine."""
