"""Measurements that are too long for the test suite. Run them with `make bench`, or one by its name
with `make bench ONLY=peer`. Each prints one table, compares within the same run, and asserts no time.
"""
