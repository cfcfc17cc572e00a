"""echod: a classic forking TCP echo daemon (RFC 862) for Linux."""
