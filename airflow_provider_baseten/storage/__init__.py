"""Storage: files, outputs and webhook deliveries outside XCom."""
