"""Django's backend for Postgres, with a bound on every wait. The setting ENGINE names this package."""
