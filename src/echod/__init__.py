"""echod: a classic forking TCP echo daemon (RFC 862) for Linux. ARCHITECTURE.md shows its modules."""

__version__ = "0.1.0"
