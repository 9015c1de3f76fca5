"""The library that the five services share: settings, HTTP seams, events, outbox, clients, and the local stack."""

__version__ = "0.1.0"
