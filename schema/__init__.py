"""The GraphQL edge: one file a domain; resolvers call one query, operation or journey each."""
