"""The page ``/mails`` of development: the mails that were sent last, as their recipients see them.

In production there is no such page, and nothing is kept.
"""
