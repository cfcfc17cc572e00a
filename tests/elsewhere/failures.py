FAILURES: dict[tuple[str, str], str] = {}
