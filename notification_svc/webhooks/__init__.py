"""Webhooks: the events of the feeds, delivered to addresses that staff register."""
