"""Demonstration data: voice commands and replies in many languages from an installed package.

In: the package `home-assistant-intents`. Out: rows as any other source gives them.
"""
