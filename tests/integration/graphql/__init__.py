"""The GraphQL edge against a real database: two groups in every test."""
