"""The chat edge: what a customer writes, what the product answers. Nothing here touches a database."""
