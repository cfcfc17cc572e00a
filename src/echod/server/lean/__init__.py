"""All code that exists only for the price of a fork: skip this folder at the first reading.

A fork copies every page that either process writes to while both have it. Each module here makes a client touch fewer
pages, and nothing else: echod would serve in the same way without it. docs/performance.md says what each saves.
"""
