"""Every line and every branch of the money rules is walked by a test (docs/mutation.md)."""
