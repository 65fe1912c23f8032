"""Benchmarks: each prints one JSON object with ratios against a bare baseline of the same run."""
