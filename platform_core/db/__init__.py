"""Database connections and bulk copies."""
